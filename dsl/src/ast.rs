//! The syntax tree: what a text says, with its place, before any name is resolved.

use sluice_ir::diagnostic::Span;

/// A file.
#[derive(Clone, Debug, PartialEq)]
pub struct Ast {
    /// Declarations in order.
    pub items: Vec<Item>,
    /// Places of the `#` comments in order, without their line ends.
    pub comments: Vec<Span>,
}

/// A declaration at the top of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The recurrences and functions of another file.
    Use(Use),
    /// A dimension.
    Dim(DimDecl),
    /// A function of the user.
    Function(Function),
    /// A program.
    Recurrence(Recurrence),
}

/// A name with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name itself.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A list of dimensions: none for a scalar, one for a vector, two for a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether its elements are complex numbers.
    pub complex: bool,
    /// The dimensions.
    pub dims: Vec<Name>,
    /// The brackets and what they hold.
    pub span: Span,
}

/// `use scans`.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The file's name.
    pub name: Name,
    /// The whole declaration.
    pub span: Span,
}

/// `dim D`, or with a size that is a number or computed from others: `dim F = 1 + D`.
#[derive(Clone, Debug, PartialEq)]
pub struct DimDecl {
    /// Documentation lines.
    pub doc: Vec<String>,
    /// The dimension.
    pub name: Name,
    /// Its size, unless the build gives it.
    pub size: Option<Expr>,
    /// The whole declaration.
    pub span: Span,
}

/// A number as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Its value.
    pub value: f64,
    /// Where it stands, with its sign.
    pub span: Span,
}

/// `fn phi(x: [K]) -> [K] { let y = elu(x)  y + 1 }`, or `= elu(x) + 1` for a body without `let`.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Documentation lines.
    pub doc: Vec<String>,
    /// The function.
    pub name: Name,
    /// What it takes.
    pub params: Vec<Param>,
    /// Shape of the result, if declared.
    pub result: Option<Shape>,
    /// Intermediate values.
    pub lets: Vec<Let>,
    /// The result.
    pub value: Expr,
    /// The whole declaration.
    pub span: Span,
}

/// A parameter of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The parameter.
    pub name: Name,
    /// Its shape; its dimensions stand for those of the argument. Without it, any shape.
    pub shape: Option<Shape>,
}

/// A program: inputs, outputs and the statements of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrence {
    /// Documentation lines.
    pub doc: Vec<String>,
    /// Whether its updates need not be affine in its states.
    pub sequential: bool,
    /// The program.
    pub name: Name,
    /// Inputs in order.
    pub inputs: Vec<Input>,
    /// Outputs in order.
    pub outputs: Vec<Output>,
    /// Statements in order.
    pub body: Vec<Statement>,
    /// The whole declaration.
    pub span: Span,
}

/// `param g: [K] f32 in (-inf, 0] by group`.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Documentation lines.
    pub doc: Vec<String>,
    /// The input.
    pub name: Name,
    /// Where `param` stands, if one value serves the whole model.
    pub param: Option<Span>,
    /// Its shape.
    pub shape: Shape,
    /// The element type that it asks for.
    pub dtype: Option<Name>,
    /// The values that the caller promises.
    pub range: Option<Range>,
    /// What shares one value: `group`.
    pub sharing: Option<Name>,
    /// The whole declaration.
    pub span: Span,
}

/// `in (-inf, 0]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Lower bound.
    pub lo: Number,
    /// Upper bound.
    pub hi: Number,
    /// Whether a parenthesis excludes the lower bound.
    pub lo_open: bool,
    /// Whether a parenthesis excludes the upper bound.
    pub hi_open: bool,
    /// The brackets and what they hold.
    pub span: Span,
}

/// `o: [V] f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Documentation lines.
    pub doc: Vec<String>,
    /// The output.
    pub name: Name,
    /// Its shape.
    pub shape: Shape,
    /// The element type that it asks for.
    pub dtype: Option<Name>,
    /// The whole declaration.
    pub span: Span,
}

/// A statement of one step.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// A state and its initial value.
    State(State),
    /// The last values of something.
    Window(Window),
    /// Names for values.
    Let(Let),
    /// The value of an output or of a state after the step.
    Assign(Assign),
}

/// `state S: [K, V] in [0, inf) reverse = 0`.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Documentation lines.
    pub doc: Vec<String>,
    /// The state.
    pub name: Name,
    /// Its shape.
    pub shape: Shape,
    /// The values that the caller promises for a state that is passed in.
    pub range: Option<Range>,
    /// In which order it passes over the tokens.
    pub order: Order,
    /// Its initial value, else 0.
    pub init: Option<Initial>,
    /// The whole statement.
    pub span: Span,
}

/// What a state starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum Initial {
    /// A number.
    Number(Number),
    /// An input of the whole model.
    Name(Name),
}

/// `reverse columns(W)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// Whether it begins at the last token.
    pub reverse: bool,
    /// The dimension whose size is the number of columns of a grid that is walked column by column.
    pub columns: Option<Name>,
}

/// `window B: [W, K] = k`.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The state that holds the last values, and starts from zeros.
    pub state: State,
    /// What it collects.
    pub value: Expr,
    /// The whole statement.
    pub span: Span,
}

/// `let D = exp(g) * S`, or `let (a, b) = reverse pair(x)` for a recurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// The new names.
    pub names: Vec<Name>,
    /// The value that they name.
    pub value: Definition,
    /// The whole statement.
    pub span: Span,
}

/// `S' = D` or `o = D`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assign {
    /// The state (without its prime) or the output, at its place with the prime.
    pub target: Name,
    /// Whether a prime follows the name.
    pub primed: bool,
    /// The value.
    pub value: Definition,
    /// The whole statement.
    pub span: Span,
}

/// What stands behind `=` in a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The word before a recurrence that passes over the tokens backwards.
    pub reverse: Option<Span>,
    /// The value.
    pub expr: Expr,
}

impl Statement {
    /// The whole statement.
    pub fn span(&self) -> &Span {
        match self {
            Statement::State(s) => &s.span,
            Statement::Window(s) => &s.span,
            Statement::Let(s) => &s.span,
            Statement::Assign(s) => &s.span,
        }
    }
}

impl Item {
    /// The whole declaration, documentation included.
    pub fn span(&self) -> &Span {
        match self {
            Item::Use(u) => &u.span,
            Item::Dim(d) => &d.span,
            Item::Function(f) => &f.span,
            Item::Recurrence(r) => &r.span,
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands, with parentheses around it.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number.
    Number(Number),
    /// An input, a state before the step, a `let`, an output, a parameter or a dimension's size.
    Name(String),
    /// A state after the step.
    Primed(String),
    /// `-x`.
    Neg(Box<Expr>),
    /// An operator between two operands.
    Infix(Infix, Box<Expr>, Box<Expr>),
    /// A function or a recurrence applied to arguments.
    Call(Name, Vec<Expr>),
    /// `name = x` among arguments.
    Named(Name, Box<Expr>),
    /// `[A, B]` among arguments.
    List(Vec<Name>),
}

/// Operators between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Infix {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
}

impl Infix {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Infix::Lt => "<",
            Infix::Le => "<=",
            Infix::Gt => ">",
            Infix::Ge => ">=",
            Infix::Eq => "==",
            Infix::Add => "+",
            Infix::Sub => "-",
            Infix::Mul => "*",
            Infix::Div => "/",
        }
    }

    /// How tightly it binds: comparisons 1, sums 2, products 3. All group to the left.
    pub fn precedence(self) -> u8 {
        match self {
            Infix::Lt | Infix::Le | Infix::Gt | Infix::Ge | Infix::Eq => 1,
            Infix::Add | Infix::Sub => 2,
            Infix::Mul | Infix::Div => 3,
        }
    }
}
