//! Errors that a user can cause, as data; only the driver renders them.

use std::fmt;
use std::ops::Range;

/// Byte range of the source text.
pub type Span = Range<usize>;

/// Declares every diagnostic code once: variant, stable number, short title.
macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal, $title:literal;)*) => {
        /// Every error a user can cause. The number is stable and names a page of the error index.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// All codes, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The stable number, as in `E0101`.
            pub fn number(self) -> &'static str { match self { $(Code::$name => $number,)* } }

            /// The title of the code's page.
            pub fn title(self) -> &'static str { match self { $(Code::$name => $title,)* } }
        }
    };
}

codes! {
    /// The text does not follow the grammar.
    Syntax = "E0001", "syntax error";
    /// A name is used that nothing declares.
    UnknownName = "E0101", "unknown name";
    /// A name is declared twice.
    DuplicateName = "E0102", "name declared twice";
    /// A function that does not exist, or is called with the wrong number of arguments.
    BadCall = "E0103", "wrong call";
    /// Shapes of operands do not fit.
    ShapeMismatch = "E0201", "shapes do not fit";
    /// A dtype that does not exist or does not fit.
    DtypeMismatch = "E0202", "dtype does not fit";
    /// An output or a new state is never assigned, or assigned twice.
    Unassigned = "E0203", "output or state not assigned exactly once";
    /// A declared range is empty or malformed.
    BadRange = "E0204", "malformed range";
    /// Functions call each other without end.
    RecursiveFunction = "E0205", "recursive function";
    /// States of different orders, or a state and its own last value, wait for each other.
    TangledStates = "E0206", "states that wait for each other";
    /// The new state is not an affine function of the state.
    NotAffine = "E0301", "update is not affine in its state";
    /// The update is affine but of a class without a chunked form yet.
    Unsupported = "E0302", "recurrence class not supported";
    /// An exponent may be positive: a gate's declared range does not exclude overflow.
    UnsafeExponent = "E0303", "exponent of unproven sign";
    /// A dimension has no size.
    MissingDimension = "E0401", "dimension without a size";
    /// A size, dtype or option of the build does not fit the program.
    BadBinding = "E0402", "binding does not fit the program";
    /// The state or the tiles do not fit the target.
    TooLarge = "E0403", "does not fit the target";
    /// The target is not in the table.
    UnknownTarget = "E0404", "unknown target";
    /// A program of this name is neither a file nor in the standard library.
    UnknownProgram = "E0501", "unknown program";
    /// A file cannot be read or written.
    File = "E0502", "file cannot be read or written";
    /// An array is missing from the data.
    MissingArray = "E0503", "missing array";
    /// An array has the wrong shape or element type.
    BadArray = "E0504", "array does not fit";
    /// No usable GPU or driver.
    NoDevice = "E0601", "no usable GPU";
    /// The driver is too old for the code.
    OldDriver = "E0602", "driver too old";
    /// A tool such as ptxas is missing.
    MissingTool = "E0603", "tool not found";
    /// A tool such as ptxas failed.
    ToolFailed = "E0604", "tool failed";
    /// An artifact's manifest cannot be understood.
    BadManifest = "E0605", "manifest not understood";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

/// One error: a sentence, the place to blame, places that explain it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What went wrong, as a stable code.
    pub code: Code,
    /// Lower case, no full stop, names in backquotes.
    pub message: String,
    /// The place to blame, if it is in the source text, with a phrase (may be empty).
    pub primary: Option<(Span, String)>,
    /// Places that explain it, each with a phrase.
    pub labels: Vec<(Span, String)>,
    /// The remedy.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a place.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), primary: None, labels: Vec::new(), help: None }
    }

    /// Blames a place.
    #[must_use]
    pub fn at(mut self, span: Span, phrase: impl Into<String>) -> Self {
        self.primary = Some((span, phrase.into()));
        self
    }

    /// Adds a place that explains the error.
    #[must_use]
    pub fn with_label(mut self, span: Span, phrase: impl Into<String>) -> Self {
        self.labels.push((span, phrase.into()));
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)
    }
}
