//! What is shown while long work goes on: something on a terminal, nothing in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A line that says which stage was last finished; erased at the end.
pub(super) fn spinner() -> ProgressBar {
    bar(None, "{spinner} {msg}")
}

/// A bar over a known number of pieces of work.
pub(super) fn counted(pieces: usize) -> ProgressBar {
    bar(Some(pieces as u64), "{bar:30} {pos}/{len} {msg}")
}

fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    ProgressBar::with_draw_target(length, target)
        .with_style(style)
        .with_finish(indicatif::ProgressFinish::AndClear)
}
