//! Makes a failing program smaller while it fails in the same way.

use super::grow::Grown;
use super::judge::{Fault, Verdict, judge};
use sluice::program::recurrences;
use sluice_dsl::ast::{Ast, Definition, Expr, ExprKind, Item, Recurrence, State, Statement};
use sluice_ir::diagnostic::Span;

/// How many programs are tried for one failure.
const TRIALS: usize = 400;

/// The smallest program found, and its fault.
pub(super) fn shrink(grown: Grown, fault: Fault) -> (Grown, Fault) {
    let (mut best, mut fault) = (grown, fault);
    let mut left = TRIALS;
    'smaller: loop {
        for candidate in candidates(&best, &fault) {
            if left == 0 {
                break 'smaller;
            }
            left -= 1;
            match judge(&candidate) {
                Verdict::Wrong(found) if found.kind == fault.kind => {
                    (best, fault) = (candidate, found);
                    continue 'smaller;
                }
                _ => {}
            }
        }
        break;
    }
    best.text = sluice_dsl::format(&best.text).expect("the text was read before");
    (best, fault)
}

/// Smaller trials: parts of the text are left out or take the place of what holds them.
fn candidates(grown: &Grown, fault: &Fault) -> Vec<Grown> {
    let Ok(ast) = sluice_dsl::parse(&grown.text) else { return vec![] };
    let settings = grown.setting.smaller().into_iter();
    let settings = settings.map(|setting| Grown { setting, ..grown.clone() });
    // Another expression may put the program into a class that is refused with good reason.
    let within = !fault.kind.starts_with("refused") && fault.kind != "steps";
    let texts = edits(&ast, &grown.text, within).into_iter().filter_map(|edit| {
        let text = edited(&grown.text, edit);
        let legal = recurrences(&text).is_ok_and(|all| all.len() == 1);
        legal.then(|| Grown { text, ..grown.clone() })
    });
    texts.chain(settings).collect()
}

/// Places and what is written there instead.
type Edit = Vec<(Span, String)>;

fn edited(text: &str, mut edit: Edit) -> String {
    edit.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut text = text.to_owned();
    for (span, instead) in edit {
        text.replace_range(span, &instead);
    }
    text
}

/// All edits, those that leave out most first.
fn edits(ast: &Ast, text: &str, within: bool) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    for item in &ast.items {
        match item {
            Item::Recurrence(recurrence) => edits.extend(removals(recurrence, text)),
            other => edits.push(vec![(other.span().clone(), String::new())]),
        }
    }
    if within {
        ast.items.iter().for_each(|item| replacements(item, text, &mut edits));
    }
    let saved = |edit: &Edit| edit.iter().map(|(span, new)| span.len() - new.len()).sum::<usize>();
    edits.sort_by_key(|edit| std::cmp::Reverse(saved(edit)));
    edits
}

/// Statements, inputs and outputs that can go, each with what it stands for.
fn removals(recurrence: &Recurrence, text: &str) -> Vec<Edit> {
    let listed = |span: &Span| {
        let comma = text[span.end..].starts_with(',');
        span.start..span.end + usize::from(comma)
    };
    let gone = |span: Span| (span, String::new());
    let assigned = |name: &str, state: bool| -> Vec<Span> {
        let assignments = recurrence.body.iter().filter_map(|statement| match statement {
            Statement::Assign(a) => Some(a),
            _ => None,
        });
        let fitting = assignments.filter(|a| a.target.text == name && a.primed == state);
        fitting.map(|a| a.span.clone()).collect()
    };
    let mut edits: Vec<Edit> = Vec::new();
    for input in &recurrence.inputs {
        edits.push(vec![gone(listed(&input.span))]);
        for part in [&input.param, &input.sharing.as_ref().map(|s| s.span.start - 3..s.span.end)] {
            edits.extend(part.iter().map(|span| vec![gone(span.clone())]));
        }
    }
    for output in &recurrence.outputs {
        let spans = assigned(&output.name.text, false).into_iter().chain([listed(&output.span)]);
        edits.push(spans.map(gone).collect());
    }
    for statement in &recurrence.body {
        match statement {
            Statement::State(s) => {
                let spans = assigned(&s.name.text, true).into_iter().chain([s.span.clone()]);
                edits.push(spans.map(gone).collect());
            }
            Statement::Let(_) | Statement::Window(_) => {
                edits.push(vec![gone(statement.span().clone())]);
            }
            Statement::Assign(_) => {}
        }
    }
    edits
}

/// Every expression may become one of its parts, or 1.
fn replacements(item: &Item, text: &str, edits: &mut Vec<Edit>) {
    match item {
        Item::Recurrence(recurrence) => {
            for statement in &recurrence.body {
                match statement {
                    Statement::Let(s) => defined(&s.value, text, edits),
                    Statement::Assign(s) => defined(&s.value, text, edits),
                    Statement::Window(s) => parts(&s.value, text, edits),
                    Statement::State(s) => forward(s, text, edits),
                }
            }
        }
        Item::Function(function) => {
            function.lets.iter().for_each(|s| defined(&s.value, text, edits));
            parts(&function.value, text, edits);
        }
        Item::Use(_) | Item::Dim(_) => {}
    }
}

fn defined(definition: &Definition, text: &str, edits: &mut Vec<Edit>) {
    edits.extend(definition.reverse.iter().map(|span| vec![(span.clone(), String::new())]));
    parts(&definition.expr, text, edits);
}

/// A state may pass over the tokens forward.
fn forward(state: &State, text: &str, edits: &mut Vec<Edit>) {
    let order = text[state.span.clone()].find(" reverse").filter(|_| state.order.reverse);
    let span = order.map(|at| state.span.start + at..state.span.start + at + " reverse".len());
    edits.extend(span.map(|span| vec![(span, String::new())]));
}

fn parts(expr: &Expr, text: &str, edits: &mut Vec<Edit>) {
    let children: Vec<&Expr> = match &expr.kind {
        ExprKind::Neg(x) => vec![x],
        ExprKind::Infix(_, a, b) => vec![a, b],
        ExprKind::Call(_, arguments) => arguments.iter().collect(),
        ExprKind::Named(_, x) => vec![x],
        ExprKind::Number(_) | ExprKind::Name(_) | ExprKind::Primed(_) | ExprKind::List(_) => vec![],
    };
    for child in children {
        let part = &text[child.span.clone()];
        let bare = matches!(child.kind, ExprKind::Infix(..) | ExprKind::Neg(_));
        let part = if bare { format!("({part})") } else { part.to_owned() };
        if part.len() < expr.span.len() {
            edits.push(vec![(expr.span.clone(), part)]);
        }
        parts(child, text, edits);
    }
    if expr.span.len() > 1 {
        edits.push(vec![(expr.span.clone(), "1".to_owned())]);
    }
}
