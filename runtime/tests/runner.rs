//! The small runner as a command: what it says and how it ends where it cannot run.
#![cfg(feature = "cuda")]

use std::path::Path;
use std::process::Command;

/// Exit status and standard error.
fn runner(arguments: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice-run")).args(arguments).output();
    let output = output.expect("the runner starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_arguments_show_the_usage() {
    for arguments in [&[][..], &[Path::new("a"), Path::new("b")], &[Path::new("--json")]] {
        let (status, errors) = runner(arguments);
        assert_eq!(status, Some(1), "{arguments:?}");
        assert!(
            errors.contains("error[E0402]") && errors.contains("usage: sluice-run"),
            "{errors}"
        );
    }
}

#[test]
fn a_folder_without_a_suite_is_the_users_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (status, errors) = runner(&[folder.path()]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("error[E0502]") && errors.contains("suite.json"), "{errors}");
}

#[test]
fn a_machine_without_a_gpu_is_told_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let suite = folder.path().join("suite.json");
    std::fs::write(suite, r#"{"cases": []}"#).expect("writable");
    // With a GPU an empty suite passes; without one, or with an old driver, the error has a remedy.
    match runner(&[folder.path()]) {
        (Some(0), errors) => assert_eq!(errors, ""),
        (status, errors) => {
            assert_eq!(status, Some(1), "{errors}");
            let known = errors.contains("error[E0601]") || errors.contains("error[E0602]");
            assert!(known && errors.contains("help: "), "{errors}");
        }
    }
}
