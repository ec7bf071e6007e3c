//! The one layout of a text.

use sluice_ir::diagnostic::Diagnostic;

/// The text in its standard layout.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    crate::parse(text).map(|_| text.to_owned())
}
