//! How a staged program prints: its recurrences, each with what it is and where its states come from
//! and go to.
//!
//! ```text
//! staged running_max_sum: 2 stages
//!
//! # stage 1, at every token, in steps (max-plus): ...
//! recurrence running_max_sum_1
//! ..
//! from m = initial m
//! keep m = m
//! ```

use super::{Form, From, Runs, Stage, Staged};
use std::fmt;

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Chunks => f.write_str("in chunks"),
            Form::Steps { class, reason } => write!(f, "in steps ({}): {reason}", class.name()),
        }
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Runs::Tokens => f.write_str("at every token"),
            Runs::Once => f.write_str("once a sequence"),
            Runs::Segments(tokens) => write!(f, "at every token of segments of {tokens}"),
            Runs::Joints(tokens) => write!(f, "once a segment of {tokens} tokens"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.recurrence)?;
        let links = || self.recurrence.states.iter().zip(&self.links);
        for (state, link) in links() {
            match &link.from {
                From::Initial(name) => writeln!(f, "from {} = initial {name}", state.name)?,
                From::Last(name) => writeln!(f, "from {} = last {name}", state.name)?,
                From::Declared => {}
            }
        }
        for (state, link) in links() {
            if let Some(to) = &link.to {
                writeln!(f, "keep {to} = {}", state.name)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.stages.len();
        writeln!(f, "staged {}: {count} stage{}", self.name, if count == 1 { "" } else { "s" })?;
        for (i, stage) in self.stages.iter().enumerate() {
            writeln!(f, "\n# stage {}, {}, {}", i + 1, stage.runs, stage.form)?;
            write!(f, "{stage}")?;
        }
        Ok(())
    }
}
