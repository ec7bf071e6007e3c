//! Embeds folders anew when a file appears in one.

fn main() {
    println!("cargo::rerun-if-changed=docs/errors");
    println!("cargo::rerun-if-changed=driver/templates");
}
