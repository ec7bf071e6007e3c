//! Why a program is refused: the diagnostics of lifting.

use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::pointwise::Interval;

/// A refusal, and whether lifting the transposed state may succeed.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) diagnostic: Box<Diagnostic>,
    pub(super) try_transposed: bool,
}

/// A result of lifting one value.
pub(super) type Lifting<T> = Result<T, Refusal>;

impl Refusal {
    fn new(diagnostic: Diagnostic) -> Self {
        Self { diagnostic: Box::new(diagnostic), try_transposed: false }
    }

    /// The obstacle lies on one side of the state only.
    fn one_sided(diagnostic: Diagnostic) -> Self {
        Self { diagnostic: Box::new(diagnostic), try_transposed: true }
    }

    /// The value is no affine function of the state.
    pub(super) fn not_affine(state: &str, span: Span, phrase: String) -> Self {
        let message = format!("the new value of `{state}` is not an affine function of `{state}`");
        Self::new(Diagnostic::new(Code::NotAffine, message).at(span, phrase).with_help(
            "a state may be scaled by factors that do not depend on it, read with `dot`, and \
             written with `outer`",
        ))
    }

    /// The value is affine, but of a class without a chunked form.
    pub(super) fn unsupported(class: &str, span: Span, phrase: String, help: &str) -> Self {
        let message = format!("recurrences with {class} have no chunked form yet");
        Self::new(Diagnostic::new(Code::Unsupported, message).at(span, phrase).with_help(help))
    }

    /// A read whose result decays along the columns feeds a write.
    pub(super) fn column_scaled_read(span: Span) -> Self {
        Self::one_sided(
            Diagnostic::new(
                Code::Unsupported,
                "recurrences with feedback on one side of the state and a vector decay on the \
                 other have no chunked form",
            )
            .at(span, "this write depends on a state that decays along the other dimension")
            .with_help("decay the state along the dimension that the read contracts"),
        )
    }

    /// The state is read along its columns while it is written along its rows.
    pub(super) fn both_sides(span: Span) -> Self {
        Self::one_sided(
            Diagnostic::new(
                Code::Unsupported,
                "recurrences with feedback on both sides of the state have no chunked form",
            )
            .at(span, "this depends on the state along its other dimension")
            .with_help("let every read that feeds a write contract the same dimension"),
        )
    }

    /// A decay whose logarithm may be positive.
    pub(super) fn unsafe_exponent(span: Span, what: &str, range: Interval, bound: f64) -> Self {
        let message =
            format!("{what} may be as large as {}, so the state may grow without bound", range.hi);
        Self::new(
            Diagnostic::new(Code::UnsafeExponent, message)
                .at(span, format!("its range is {range}"))
                .with_help(format!(
                    "declare ranges of the inputs from which it follows that {what} is at most \
                     {bound}, for example `in (-inf, 0]` for a log decay"
                )),
        )
    }
}
