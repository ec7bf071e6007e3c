//! Snapshots beside the case that they belong to.

use libtest_mimic::Failed;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Compares `text` with the snapshot beside `case`, a `.sluice` file (which need not exist).
pub(crate) fn check(case: &Path, text: &str) -> Result<(), Failed> {
    let folder = case.parent().expect("a case lies in a folder");
    let stem = case.file_stem().expect("a case has a name").to_string_lossy().into_owned();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // The message of a difference goes to standard error; the panic says only that there is one.
    let compare = || settings.bind(|| insta::assert_snapshot!(stem.as_str(), text));
    catch_unwind(AssertUnwindSafe(compare))
        .map_err(|_| format!("the text differs from {stem}.snap; `make bless` accepts it").into())
}
