//! Text to syntax tree. The only module that mentions pest.
//!
//! A statement that does not follow the grammar is skipped to the end of its line, so that one text
//! shows all its errors at once; frequent mistakes have productions of their own.

mod error;
mod expr;

use crate::ast::{
    Assign, Ast, Definition, DimDecl, Function, Initial, Input, Item, Let, Name, Number, Order,
    Output, Param, Range, Recurrence, Shape, State, Statement, Use, Window,
};
use error::{STATEMENT_HELP, found, syntax_error};
use pest::Parser as _;
use pest::iterators::{Pair, Pairs};
use sluice_ir::diagnostic::{Code, Diagnostic, Span};

#[derive(pest_derive::Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// Deeper nesting than any program has; it bounds the stack that parsing and lowering need.
const MAX_DEPTH: usize = 64;

/// The syntax tree of a text, or every syntax error found.
pub fn parse(text: &str) -> Result<Ast, Vec<Diagnostic>> {
    check_depth(text).map_err(|error| vec![error])?;
    let mut pairs =
        Grammar::parse(Rule::file, text).map_err(|error| vec![syntax_error(text, 0, &error)])?;
    let file = pairs.next().expect("the start rule gives one pair");
    let mut builder = Builder { text, errors: Vec::new(), parts: 0 };
    let items = file.into_inner().filter_map(|pair| builder.item(pair)).collect();
    if builder.errors.is_empty() {
        Ok(Ast { items, comments: comments(text) })
    } else {
        Err(builder.errors)
    }
}

fn check_depth(text: &str) -> Result<(), Diagnostic> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new(Code::Syntax, "brackets are nested too deeply")
                .at(at..at + 1, format!("this is level {depth}"))
                .with_help("name an intermediate value with `let`"));
        }
    }
    Ok(())
}

/// Places of the `#` comments; documentation lines may hold the sign too.
fn comments(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let marker = line.find('#').filter(|at| !line[..*at].contains("///"));
        if let Some(at) = marker {
            found.push(start + at..start + line.trim_end().len());
        }
        start += line.len();
    }
    found
}

/// Place of a pair, without the spaces and comments that pest counts to it where its last part may be
/// missing.
fn span(pair: &Pair<Rule>) -> Span {
    let whole = pair.as_span();
    let last = pair.clone().into_inner().last().map(|last| span(&last).end);
    let is_space = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    match last {
        Some(end) if pair.as_str()[end - whole.start()..].lines().all(is_space) => {
            whole.start()..end
        }
        _ => whole.start()..whole.end(),
    }
}

/// The next pair, if it is of this rule.
fn optional<'t>(pairs: &mut Pairs<'t, Rule>, rule: Rule) -> Option<Pair<'t, Rule>> {
    if pairs.peek()?.as_rule() == rule { pairs.next() } else { None }
}

/// Turns pairs into nodes and collects errors.
struct Builder<'t> {
    text: &'t str,
    errors: Vec<Diagnostic>,
    /// Operators and operands of the outermost expression so far.
    parts: usize,
}

impl Builder<'_> {
    fn report(&mut self, message: &str, at: Span, help: &str) {
        self.errors.push(Diagnostic::new(Code::Syntax, message).at(at, "").with_help(help));
    }

    fn item(&mut self, pair: Pair<Rule>) -> Option<Item> {
        match pair.as_rule() {
            Rule::recurrence => Some(Item::Recurrence(self.recurrence(pair))),
            Rule::function => Some(Item::Function(self.function(pair))),
            Rule::dim_decl => Some(Item::Dim(self.dim_decl(pair))),
            Rule::use_decl => {
                let span = span(&pair);
                let name = name_of(&pair.into_inner().nth(1).expect("a name"));
                Some(Item::Use(Use { name, span }))
            }
            _ => None,
        }
    }

    fn dim_decl(&mut self, pair: Pair<Rule>) -> DimDecl {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        let doc = doc(&mut inner);
        inner.next().expect("the keyword");
        let name = name(&mut inner);
        DimDecl { doc, name, size: inner.next().map(|pair| self.value(pair)), span }
    }

    fn function(&mut self, pair: Pair<Rule>) -> Function {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        let doc = doc(&mut inner);
        inner.next().expect("the keyword");
        let name = name(&mut inner);
        let mut params = Vec::new();
        while let Some(param) = optional(&mut inner, Rule::fn_param) {
            let mut inner = param.into_inner();
            let name = self::name(&mut inner);
            params.push(Param { name, shape: inner.next().map(|pair| self.shape(pair)) });
        }
        let result = optional(&mut inner, Rule::fn_result)
            .map(|pair| self.shape(pair.into_inner().next().expect("a shape")));
        let mut lets = Vec::new();
        while let Some(pair) = optional(&mut inner, Rule::let_stmt) {
            let statement = self.let_stmt(pair);
            if statement.names.len() > 1 || statement.value.reverse.is_some() {
                let help = "write `let name = value`; only a recurrence calls recurrences";
                self.report("a function names values one by one", statement.span.clone(), help);
            }
            lets.push(statement);
        }
        let value = self.value(inner.next().expect("the value"));
        Function { doc, name, params, result, lets, value, span }
    }

    fn recurrence(&mut self, pair: Pair<Rule>) -> Recurrence {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        let doc = doc(&mut inner);
        let sequential = optional(&mut inner, Rule::kw_sequential).is_some();
        inner.next().expect("the keyword");
        let name = name(&mut inner);
        let mut inputs = Vec::new();
        while let Some(pair) = optional(&mut inner, Rule::input) {
            inputs.push(self.input(pair));
        }
        let mut outputs = Vec::new();
        while let Some(pair) = optional(&mut inner, Rule::output) {
            outputs.push(self.output(pair));
        }
        let body = self.body(inner);
        Recurrence { doc, sequential, name, inputs, outputs, body, span }
    }

    fn input(&mut self, pair: Pair<Rule>) -> Input {
        let whole = span(&pair);
        let mut inner = pair.into_inner();
        let doc = doc(&mut inner);
        let param = optional(&mut inner, Rule::kw_param).map(|pair| span(&pair));
        let name = name(&mut inner);
        let shape = self.shape(inner.next().expect("a shape"));
        let dtype = optional(&mut inner, Rule::dtype).map(|pair| name_of(&pair));
        let range = optional(&mut inner, Rule::range).map(range);
        let sharing = optional(&mut inner, Rule::sharing)
            .map(|pair| name_of(&pair.into_inner().nth(1).expect("what shares")));
        Input { doc, name, param, shape, dtype, range, sharing, span: whole }
    }

    fn output(&mut self, pair: Pair<Rule>) -> Output {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        let doc = doc(&mut inner);
        let name = name(&mut inner);
        let shape = self.shape(inner.next().expect("a shape"));
        let dtype = inner.next().map(|pair| name_of(&pair));
        Output { doc, name, shape, dtype, span }
    }

    fn shape(&mut self, pair: Pair<Rule>) -> Shape {
        let span = span(&pair);
        let mut names = Vec::new();
        let mut inner = pair.into_inner();
        let complex = optional(&mut inner, Rule::kw_complex).is_some();
        for pair in inner {
            if pair.as_rule() == Rule::bad_shape {
                self.report("a shape stands in brackets", span.clone(), "write `[K, V]`");
            } else {
                names.push(name_of(&pair));
            }
        }
        Shape { complex, dims: names, span }
    }

    fn body(&mut self, pairs: Pairs<Rule>) -> Vec<Statement> {
        let mut statements: Vec<Statement> = Vec::new();
        let mut skipping = false;
        for pair in pairs {
            let bad = pair.as_rule() == Rule::bad_line;
            match pair.as_rule() {
                Rule::state_stmt => statements.push(Statement::State(self.state_stmt(pair))),
                Rule::window => statements.push(Statement::Window(self.window(pair))),
                Rule::let_stmt => statements.push(Statement::Let(self.let_stmt(pair))),
                Rule::assignment => statements.push(Statement::Assign(self.assignment(pair))),
                Rule::semicolon => {
                    self.report(
                        "a statement ends without a semicolon",
                        span(&pair),
                        "leave out `;`",
                    );
                }
                // The lines after a bad line are often the rest of the same statement.
                Rule::bad_line if !skipping => self.bad_line(span(&pair).start, statements.last()),
                _ => {}
            }
            skipping = bad;
        }
        statements
    }

    /// Parses a line that is not a statement once more, to learn why; if it begins behind a statement,
    /// that statement belongs to it.
    fn bad_line(&mut self, start: usize, previous: Option<&Statement>) {
        let begun =
            previous.map(Statement::span).filter(|s| !self.text[s.end..start].contains('\n'));
        let start = begun.map_or(start, |s| s.start);
        let rest = &self.text[start..];
        match Grammar::parse(Rule::probe, rest) {
            Err(error) => self.errors.push(syntax_error(self.text, start, &error)),
            Ok(_) => {
                let end = start + found(rest).len();
                self.report("expected a statement", start..end, STATEMENT_HELP);
            }
        }
    }

    fn state_stmt(&mut self, pair: Pair<Rule>) -> State {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        let mut state = self.state_head(&mut inner, span);
        state.range = optional(&mut inner, Rule::range).map(range);
        state.order = optional(&mut inner, Rule::order).map(order).unwrap_or_default();
        state.init = inner.next().map(|pair| match pair.as_rule() {
            Rule::bound => Initial::Number(bound(pair)),
            _ => Initial::Name(name_of(&pair)),
        });
        state
    }

    fn window(&mut self, pair: Pair<Rule>) -> Window {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        let mut state = self.state_head(&mut inner, span.clone());
        state.order = optional(&mut inner, Rule::order).map(order).unwrap_or_default();
        Window { state, value: self.value(inner.next().expect("a value")), span }
    }

    /// Documentation, keyword, name and shape.
    fn state_head(&mut self, inner: &mut Pairs<Rule>, span: Span) -> State {
        let doc = doc(inner);
        inner.next().expect("the keyword");
        let name = name(inner);
        let shape = self.shape(inner.next().expect("a shape"));
        State { doc, name, shape, range: None, order: Order::default(), init: None, span }
    }

    fn let_stmt(&mut self, pair: Pair<Rule>) -> Let {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        inner.next().expect("the keyword");
        let mut names = Vec::new();
        while let Some(pair) = optional(&mut inner, Rule::name) {
            names.push(name_of(&pair));
        }
        Let { names, value: self.definition(inner), span }
    }

    fn assignment(&mut self, pair: Pair<Rule>) -> Assign {
        let span = span(&pair);
        let mut inner = pair.into_inner();
        let target = inner.next().expect("a target");
        let primed = target.as_rule() == Rule::primed;
        let mut target = name_of(&target);
        if primed {
            target.text.pop();
        }
        Assign { target, primed, value: self.definition(inner), span }
    }

    fn definition(&mut self, mut inner: Pairs<Rule>) -> Definition {
        let reverse = optional(&mut inner, Rule::kw_reverse).map(|pair| span(&pair));
        Definition { reverse, expr: self.value(inner.next().expect("a value")) }
    }
}

fn doc(pairs: &mut Pairs<Rule>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(pair) = optional(pairs, Rule::doc) {
        let text = pair.into_inner().as_str();
        lines.push(text.strip_prefix(' ').unwrap_or(text).trim_end().to_owned());
    }
    lines
}

fn name(pairs: &mut Pairs<Rule>) -> Name {
    name_of(&pairs.next().expect("a name"))
}

fn name_of(pair: &Pair<Rule>) -> Name {
    Name { text: pair.as_str().to_owned(), span: span(pair) }
}

fn range(pair: Pair<Rule>) -> Range {
    let span = span(&pair);
    let mut inner = pair.into_inner().skip(1);
    let mut next = || inner.next().expect("bracket, bound, bound, bracket");
    let lo_open = next().as_str() == "(";
    let (lo, hi) = (bound(next()), bound(next()));
    let hi_open = next().as_str() == ")";
    Range { lo, hi, lo_open, hi_open, span }
}

fn order(pair: Pair<Rule>) -> Order {
    let mut inner = pair.into_inner();
    let reverse = optional(&mut inner, Rule::kw_reverse).is_some();
    let columns = inner.next().map(|pair| name_of(&pair.into_inner().nth(1).expect("a name")));
    Order { reverse, columns }
}

/// A number with an optional sign.
fn bound(pair: Pair<Rule>) -> Number {
    let span = span(&pair);
    let mut inner = pair.into_inner();
    let sign = if optional(&mut inner, Rule::minus).is_some() { -1.0 } else { 1.0 };
    Number { value: sign * number(inner.as_str()), span }
}

fn number(text: &str) -> f64 {
    text.parse().expect("the grammar admits only numbers")
}
