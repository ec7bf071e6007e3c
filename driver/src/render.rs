//! Diagnostics as text for people: the only place that renders them.

use crate::source::Source;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use sluice_ir::diagnostic::{Diagnostic, Span};

/// Whether the text may carry colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For a terminal.
    Coloured,
    /// For files, pipes and tests.
    Plain,
}

/// All diagnostics, each with the excerpts of `source` that it names, separated by empty lines.
///
/// Without a source the places are left out.
pub fn render(diagnostics: &[Diagnostic], source: Option<&Source>, style: Style) -> String {
    let renderer = match style {
        Style::Coloured => Renderer::styled(),
        Style::Plain => Renderer::plain(),
    };
    let texts: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| renderer.render(&[group(diagnostic, source)]).clone())
        .collect();
    texts.join("\n\n") + "\n"
}

fn group<'a>(diagnostic: &'a Diagnostic, source: Option<&'a Source>) -> Group<'a> {
    let title = Level::ERROR.primary_title(&diagnostic.message).id(diagnostic.code.number());
    let mut group = Group::with_title(title);
    let places = diagnostic.primary.iter().map(|place| (AnnotationKind::Primary, place));
    let labels = diagnostic.labels.iter().map(|place| (AnnotationKind::Context, place));
    let mut places = places.chain(labels).peekable();
    if let Some(source) = source.filter(|_| places.peek().is_some()) {
        let annotations = places.map(|(kind, place)| annotation(kind, place, source));
        let snippet = Snippet::source(&source.text).path(&source.name);
        group = group.element(snippet.annotations(annotations));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    group
}

/// One marked place; an empty phrase marks it without a text.
fn annotation<'a>(
    kind: AnnotationKind,
    (span, phrase): &'a (Span, String),
    source: &Source,
) -> Annotation<'a> {
    let end = span.end.min(source.text.len());
    let marked = kind.span(span.start.min(end)..end);
    if phrase.is_empty() { marked } else { marked.label(phrase) }
}
