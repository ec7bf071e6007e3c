//! Rebuilds the crate when a file appears in or disappears from the embedded folder.

#[expect(clippy::print_stdout, reason = "cargo reads instructions from standard output")]
fn main() {
    println!("cargo::rerun-if-changed=recurrences");
}
