//! What a syntax error says: pest's own error in the words of the language.

use super::Rule;
use pest::error::{Error, ErrorVariant, InputLocation};
use sluice_ir::diagnostic::{Code, Diagnostic};

/// The remedy where a line is no statement at all.
pub(super) const STATEMENT_HELP: &str = "a step consists of `state S: [K, V]`, `let name = value`, `S' = value` \
                              and `output = value`";

const FILE_HELP: &str = "a file consists of `recurrence name(x: [V]) -> o: [V] { .. }`, \
                         `fn name(x) = value`, `dim F = 16` and `use name`";

/// pest's error as a diagnostic; `start` is where the text that pest saw begins in `text`.
pub(super) fn syntax_error(text: &str, start: usize, error: &Error<Rule>) -> Diagnostic {
    let at = start
        + match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
        };
    let found = found(&text[at..]);
    let expected = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => expected(positives),
        ErrorVariant::CustomError { message } => message.clone(),
    };
    let message = match (expected.is_empty(), found) {
        (true, "") => "the text ends too early".to_owned(),
        (true, found) => format!("`{found}` does not belong here"),
        (false, "") => format!("expected {expected}, found the end of the text"),
        (false, found) => format!("expected {expected}, found `{found}`"),
    };
    let diagnostic = Diagnostic::new(Code::Syntax, message).at(at..at + found.len(), "");
    let usual = if start == 0 { FILE_HELP } else { STATEMENT_HELP };
    diagnostic.with_help(slip(text, start, at).unwrap_or(usual))
}

/// The word or sign that a text begins with; empty at its end.
pub(super) fn found(rest: &str) -> &str {
    let word =
        rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    let sign = rest.chars().next().map_or(0, char::len_utf8);
    &rest[..word.max(sign)]
}

/// Remedies that need a look at the text around the error.
fn slip(text: &str, start: usize, at: usize) -> Option<&'static str> {
    let (before, rest) = (&text[start..at], &text[at..]);
    let count = |c| before.matches(c).count();
    if rest.starts_with("//") || before.ends_with('/') && rest.starts_with('/') {
        return Some("a comment begins with `#`, a documentation line with `///`");
    }
    if rest.starts_with(":=") || rest.starts_with("+=") || rest.starts_with("*=") {
        return Some("a value is given with `=`, and only once");
    }
    if rest.starts_with("return") || before.ends_with("return ") {
        return Some("an output is assigned by name, as in `o = dot(q, S')`");
    }
    if rest.starts_with("reverse") {
        return Some("`reverse` is a word of the language: choose another name");
    }
    if count('(') > count(')') {
        return Some("a parenthesis is still open here");
    }
    None
}

/// What may stand at the place of an error, in words.
fn expected(rules: &[Rule]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in rules.iter().filter_map(|rule| describe(*rule)) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn describe(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::EOI => "the end of the file",
        Rule::recurrence => "`recurrence`",
        Rule::function => "`fn`",
        Rule::dim_decl => "`dim`",
        Rule::use_decl => "`use`",
        Rule::kw_recurrence => "`recurrence`",
        Rule::statement | Rule::state_stmt | Rule::window | Rule::let_stmt | Rule::assignment => {
            "a statement"
        }
        Rule::expr
        | Rule::negation
        | Rule::number
        | Rule::call
        | Rule::callee
        | Rule::variable
        | Rule::primed
        | Rule::paren => "a value",
        Rule::name | Rule::ident | Rule::fn_param | Rule::input | Rule::output => "a name",
        Rule::shape | Rule::bad_shape | Rule::list => "a shape such as `[K, V]`",
        Rule::lt | Rule::le | Rule::gt | Rule::ge | Rule::eq | Rule::bad_op => "an operator",
        Rule::add | Rule::sub | Rule::mul | Rule::div => "an operator",
        Rule::dtype => "an element type",
        Rule::range | Rule::kw_in => "a range such as `in (-inf, 0]`",
        Rule::order => "an order such as `reverse`",
        Rule::named => "a named argument",
        Rule::sharing | Rule::kw_by => "`by group`",
        Rule::probe | Rule::target | Rule::kw_let | Rule::kw_state | Rule::kw_window => {
            "a statement"
        }
        Rule::fn_result => "`->`",
        Rule::opening => "`(` or `[`",
        Rule::closing => "`)` or `]`",
        Rule::bound => "a number",
        _ => return None,
    })
}
