//! The one layout of a text: two spaces before a comment, four for a level, one around operators.
//!
//! Comments stay: one on a line of its own before what follows it, one behind a line with that line, one
//! inside a statement before the statement. A blank line between two things stays, a second does not.
//! Inputs stay together in the lines in which they were written. Formatting twice changes nothing more.

use crate::ast::{
    Ast, Definition, DimDecl, Expr, ExprKind, Function, Infix, Initial, Input, Item, Let, Name,
    Number, Order, Output, Range, Recurrence, Shape, State, Statement,
};
use sluice_ir::diagnostic::{Diagnostic, Span};

/// A longer line is broken where that is possible.
const WIDTH: usize = 100;

const INDENT: &str = "    ";

/// The text in its standard layout, or its syntax errors.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let ast = crate::parse(text)?;
    let mut printer = Printer { text, ast: &ast, comment: 0, end: 0, depth: 0, out: String::new() };
    for item in &ast.items {
        match item {
            Item::Use(used) => printer.line(&used.span, &format!("use {}", used.name.text)),
            Item::Dim(decl) => printer.dim(decl),
            Item::Function(function) => printer.function(function),
            Item::Recurrence(recurrence) => printer.recurrence(recurrence),
        }
    }
    printer.comments_before(text.len());
    Ok(printer.out)
}

struct Printer<'a> {
    text: &'a str,
    ast: &'a Ast,
    /// How many comments are printed.
    comment: usize,
    /// Where in the text the last thing printed ends.
    end: usize,
    depth: usize,
    out: String,
}

impl Printer<'_> {
    /// Prints one line (its text may hold breaks) that stands for a part of the source.
    fn line(&mut self, span: &Span, text: &str) {
        self.comments_before(span.end);
        self.blank_before(span.start);
        self.raw(text);
        self.end = span.end;
        // Only a comma or an opening bracket may stand between the end and a comment behind it.
        if let Some(at) = self.next_comment(self.text.len())
            && !self.text[self.end..at.start].contains(|c: char| c == '\n' || c.is_alphanumeric())
        {
            self.out.truncate(self.out.len() - 1);
            self.out += "  ";
            self.out += &self.text[at.clone()];
            self.out.push('\n');
            self.end = at.end;
            self.comment += 1;
        }
    }

    fn next_comment(&self, before: usize) -> Option<Span> {
        self.ast.comments.get(self.comment).filter(|c| c.start < before).cloned()
    }

    fn comments_before(&mut self, position: usize) {
        while let Some(at) = self.next_comment(position) {
            self.blank_before(at.start);
            self.raw(&self.text[at.clone()]);
            self.end = at.end;
            self.comment += 1;
        }
    }

    /// Keeps a blank line of the source, except at the beginning of a block.
    fn blank_before(&mut self, start: usize) {
        let gap = self.text.get(self.end..start).unwrap_or_default();
        let above = self.out.lines().last().and_then(|line| line.split('#').next());
        let fresh = above.is_none_or(|code| code.trim_end().ends_with(['{', '(']));
        if gap.matches('\n').count() > 1 && !fresh {
            self.out.push('\n');
        }
    }

    fn raw(&mut self, text: &str) {
        for line in text.lines() {
            self.out += &INDENT.repeat(self.depth);
            self.out += line;
            self.out.push('\n');
        }
    }

    fn dim(&mut self, decl: &DimDecl) {
        let head = format!("{}dim {}", doc(&decl.doc), decl.name.text);
        let text = match &decl.size {
            Some(size) => self.value(&format!("{head} = "), size),
            None => head,
        };
        self.line(&decl.span, &text);
    }

    fn function(&mut self, function: &Function) {
        let params: Vec<String> = function
            .params
            .iter()
            .map(|p| match &p.shape {
                Some(s) => format!("{}: {}", p.name.text, shape(s)),
                None => p.name.text.clone(),
            })
            .collect();
        let mut head =
            format!("{}fn {}({})", doc(&function.doc), function.name.text, params.join(", "));
        if let Some(result) = &function.result {
            head += &format!(" -> {}", shape(result));
        }
        if function.lets.is_empty() {
            let text = self.value(&format!("{head} = "), &function.value);
            return self.line(&function.span, &text);
        }
        let head_end = function.result.as_ref().map_or(function.name.span.end, |r| r.span.end);
        self.line(&(function.span.start..head_end), &(head + " {"));
        self.depth += 1;
        function.lets.iter().for_each(|l| self.let_statement(l));
        let value = self.value("", &function.value);
        // A line that begins with a minus would continue the line before it.
        let text = if value.starts_with('-') { format!("({value})") } else { value };
        self.line(&function.value.span, &text);
        self.close(function.span.end, "}");
    }

    fn recurrence(&mut self, source: &Recurrence) {
        let sequential = if source.sequential { "sequential " } else { "" };
        let head = format!("{}{sequential}recurrence {}(", doc(&source.doc), source.name.text);
        let documented = source.outputs.iter().any(|o| !o.doc.is_empty());
        let outputs = if documented { "(".to_owned() } else { outputs(&source.outputs) + " {" };
        let outputs_start = source.outputs.first().map_or(source.name.span.end, |o| o.span.start);
        let outputs_end = source.outputs.last().map_or(source.name.span.end, |o| o.span.end);
        let whole = format!("{head}{}) -> {outputs}", self.input_line(&source.inputs));
        let width = whole.lines().last().map_or(0, str::len);
        let written = source.inputs.last().map_or(source.name.span.end, |i| i.span.end);
        let broken = self.text[source.name.span.end..written].contains('\n');
        let head_end = if documented { written } else { outputs_end };
        if !broken && width <= WIDTH {
            self.line(&(source.span.start..head_end), &whole);
            self.depth += 1;
        } else {
            self.line(&(source.span.start..source.name.span.end), &head);
            self.depth += 1;
            for group in self.input_groups(&source.inputs, broken) {
                let span = group[0].span.start..group[group.len() - 1].span.end;
                let text = self.input_line(group) + ",";
                self.line(&span, &text);
            }
            let at = if documented { outputs_start } else { outputs_end };
            self.close_at(&(at..at), &format!(") -> {outputs}"));
            self.depth += 1;
        }
        if documented {
            for output in &source.outputs {
                self.line(&output.span, &format!("{}{},", doc(&output.doc), self::output(output)));
            }
            self.close_at(&(outputs_end..outputs_end), ") {");
            self.depth += 1;
        }
        for statement in &source.body {
            match statement {
                Statement::State(state) => {
                    let text = self.state("state", state);
                    self.line(&state.span, &text);
                }
                Statement::Window(window) => {
                    let head = self.state("window", &window.state);
                    let text = self.value(&format!("{head} = "), &window.value);
                    self.line(&window.span, &text);
                }
                Statement::Let(statement) => self.let_statement(statement),
                Statement::Assign(assign) => {
                    let prime = if assign.primed { "'" } else { "" };
                    let head = format!("{}{prime} = ", assign.target.text);
                    let text = self.definition(&head, &assign.value);
                    self.line(&assign.span, &text);
                }
            }
        }
        self.close(source.span.end, "}");
    }

    /// A state or a window without what it collects.
    fn state(&self, keyword: &str, state: &State) -> String {
        let head = format!("{}{keyword} {}: ", doc(&state.doc), state.name.text);
        let mut text = head + &shape(&state.shape);
        if let Some(range) = &state.range {
            text += &self.range(range);
        }
        text += &order(&state.order);
        match &state.init {
            Some(Initial::Number(number)) => text += &format!(" = {}", self.number(number)),
            Some(Initial::Name(name)) => text += &format!(" = {}", name.text),
            None => {}
        }
        text
    }

    fn definition(&self, head: &str, definition: &Definition) -> String {
        let reverse = if definition.reverse.is_some() { "reverse " } else { "" };
        self.value(&format!("{head}{reverse}"), &definition.expr)
    }

    /// Ends a block at the bracket before `end`; comments before the bracket stay inside.
    fn close(&mut self, end: usize, text: &str) {
        self.close_at(&(end - text.len()..end), text);
    }

    fn close_at(&mut self, span: &Span, text: &str) {
        self.comments_before(span.start);
        self.depth -= 1;
        self.end = span.start;
        self.line(span, text);
    }

    fn let_statement(&mut self, statement: &Let) {
        let names: Vec<&str> = statement.names.iter().map(|n| n.text.as_str()).collect();
        let names = match names.as_slice() {
            [one] => (*one).to_owned(),
            several => format!("({})", several.join(", ")),
        };
        let text = self.definition(&format!("let {names} = "), &statement.value);
        self.line(&statement.span, &text);
    }

    /// Inputs that share a line of the source; one each if the source was a single line.
    fn input_groups<'i>(&self, inputs: &'i [Input], broken: bool) -> Vec<&'i [Input]> {
        let together = |a: &Input, b: &Input| {
            broken && b.doc.is_empty() && !self.text[a.span.end..b.span.start].contains('\n')
        };
        inputs.chunk_by(together).collect()
    }

    fn input_line(&self, inputs: &[Input]) -> String {
        inputs.iter().map(|i| self.input(i)).collect::<Vec<_>>().join(", ")
    }

    fn input(&self, input: &Input) -> String {
        let param = if input.param.is_some() { "param " } else { "" };
        let mut text =
            format!("{}{param}{}: {}", doc(&input.doc), input.name.text, shape(&input.shape));
        text += &dtype(input.dtype.as_ref());
        if let Some(range) = &input.range {
            text += &self.range(range);
        }
        if let Some(sharing) = &input.sharing {
            text += &format!(" by {}", sharing.text);
        }
        text
    }

    fn range(&self, range: &Range) -> String {
        let opening = if range.lo_open { '(' } else { '[' };
        let closing = if range.hi_open { ')' } else { ']' };
        format!(" in {opening}{}, {}{closing}", self.number(&range.lo), self.number(&range.hi))
    }

    /// A number as it was written, without the spaces and comments behind its sign.
    fn number(&self, number: &Number) -> String {
        let lines = self.text[number.span.clone()].lines();
        lines.filter_map(|line| line.split('#').next()).flat_map(str::split_whitespace).collect()
    }

    /// `head` and an expression; a line too long is broken before the operators of its outermost sum.
    fn value(&self, head: &str, expr: &Expr) -> String {
        let whole = format!("{head}{}", self.expr(expr, 0));
        let width = whole.lines().last().map_or(0, str::len);
        if width + self.depth * INDENT.len() <= WIDTH {
            return whole;
        }
        let mut tail = String::new();
        let mut first = expr;
        while let ExprKind::Infix(infix @ (Infix::Add | Infix::Sub), a, b) = &first.kind {
            let term = self.expr(b, infix.precedence() + 1);
            tail = format!("\n{INDENT}{} {term}{tail}", infix.symbol());
            first = a;
        }
        format!("{head}{}{tail}", self.expr(first, Infix::Add.precedence()))
    }

    /// An expression, in parentheses if it binds less tightly than `loosest`.
    fn expr(&self, expr: &Expr, loosest: u8) -> String {
        match &expr.kind {
            ExprKind::Number(number) => self.number(number),
            ExprKind::Name(name) => name.clone(),
            ExprKind::Primed(name) => format!("{name}'"),
            ExprKind::Neg(a) => format!("-{}", self.expr(a, u8::MAX)),
            ExprKind::Infix(infix, a, b) => {
                let own = infix.precedence();
                let (a, b) = (self.expr(a, own), self.expr(b, own + 1));
                let text = format!("{a} {} {b}", infix.symbol());
                if own < loosest { format!("({text})") } else { text }
            }
            ExprKind::Call(name, args) => {
                let args: Vec<String> = args.iter().map(|a| self.expr(a, 0)).collect();
                format!("{}({})", name.text, args.join(", "))
            }
            ExprKind::Named(name, value) => format!("{} = {}", name.text, self.expr(value, 0)),
            ExprKind::List(names) => names_in_brackets(names),
        }
    }
}

/// Documentation lines, each with its line end.
fn doc(lines: &[String]) -> String {
    let line =
        |text: &String| if text.is_empty() { "///\n".to_owned() } else { format!("/// {text}\n") };
    lines.iter().map(line).collect()
}

fn shape(shape: &Shape) -> String {
    let complex = if shape.complex { "complex " } else { "" };
    format!("{complex}{}", names_in_brackets(&shape.dims))
}

fn names_in_brackets(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(|n| n.text.as_str()).collect();
    format!("[{}]", names.join(", "))
}

fn order(order: &Order) -> String {
    let reverse = if order.reverse { " reverse" } else { "" };
    let columns = order.columns.as_ref().map(|dim| format!(" columns({})", dim.text));
    format!("{reverse}{}", columns.unwrap_or_default())
}

fn dtype(dtype: Option<&Name>) -> String {
    dtype.map(|d| format!(" {}", d.text)).unwrap_or_default()
}

fn output(output: &Output) -> String {
    format!("{}: {}{}", output.name.text, shape(&output.shape), dtype(output.dtype.as_ref()))
}

fn outputs(outputs: &[Output]) -> String {
    let texts: Vec<String> = outputs.iter().map(output).collect();
    match texts.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join(", ")),
    }
}
