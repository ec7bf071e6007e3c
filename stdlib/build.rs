//! Rebuilds the crate when a file appears in or disappears from the embedded folder.

fn main() {
    println!("cargo::rerun-if-changed=recurrences");
}
