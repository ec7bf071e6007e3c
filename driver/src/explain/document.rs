//! An explanation as a document: plain text, or Markdown.

use super::{Chain, Chunking, Explanation, MASKS, StageExplanation};
use std::collections::BTreeSet;
use std::fmt;

/// How an explanation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Titles and indented text.
    Text,
    /// Markdown.
    Markdown,
}

/// A part of a document with a title.
struct Section {
    /// 1 for the document's own, one more for each level below.
    level: usize,
    title: String,
    text: String,
}

impl Explanation {
    /// The document.
    pub fn document(&self, format: Format) -> String {
        let several = self.stages.len() > 1;
        let mut sections = self.opening(several);
        for stage in &self.stages {
            if several {
                let title = format!("stage {}: {}", stage.name, stage.class);
                sections.push(Section { level: 2, title, text: stage.opening() });
            }
            let level = if several { 3 } else { 2 };
            stage.sections(several, level, &mut sections);
        }
        let written = sections.iter().map(|section| section.written(format));
        written.collect::<Vec<_>>().join("\n")
    }

    fn opening(&self, several: bool) -> Vec<Section> {
        let sizes: Vec<String> = self.extents.iter().map(|(n, s)| format!("{n} = {s}")).collect();
        let title = format!("{} for {}, {}", self.program, self.target, sizes.join(", "));
        let classes = self.stages.iter().map(|stage| match several {
            true => format!("{}: {}, {}", stage.name, stage.class, stage.runs),
            false => format!("{}, {}", stage.class, stage.runs),
        });
        let text = classes.collect::<Vec<_>>().join("\n");
        let mut sections = vec![Section { level: 1, title, text }];
        if !self.operators.is_empty() {
            let title = "operators, on arrays [blocks, rows, features]".to_owned();
            let text = format!("{}\n{MASKS}", self.operators.join("\n"));
            sections.push(Section { level: 2, title, text });
        }
        sections
    }
}

impl StageExplanation {
    fn opening(&self) -> String {
        let step = self.step.as_deref().unwrap_or_default();
        format!("{}\n{step}", self.runs)
    }

    fn sections(&self, several: bool, level: usize, sections: &mut Vec<Section>) {
        // Titles of several stages would be the same; their paths through the document are not.
        let titled = |title: &str| match several {
            true => format!("{title} of {}", self.name),
            false => title.to_owned(),
        };
        let mut push = |title: &str, text: String| {
            sections.push(Section { level, title: titled(title), text });
        };
        if let Some(reason) = &self.token_by_token {
            push("token by token", format!("because {reason}"));
        }
        if let Some(chunking) = &self.derivation {
            push("sequence form", chunking.sequence.clone());
            for (chain, text) in chains(&chunking.derivations) {
                let result = &chain.result;
                push(&format!("laws from there to the chunked form of `{result}`"), text);
            }
            let title = format!("chunked form, {} tokens a chunk", chunking.search.chunk);
            push(&title, chunking.chunked.clone());
            push("equations of a chunk", chunking.equations.join("\n"));
            push("exponents", chunking.bounds());
            push("search", chunking.search.to_string());
        }
        if let Some(elements) = &self.elements {
            push("elementwise form", elements.form.clone());
            for (chain, text) in chains(&elements.derivations) {
                push(&format!("laws from the step to the scan of `{}`", chain.result), text);
            }
        }
        let kernels: Vec<String> = self.kernels.iter().map(ToString::to_string).collect();
        push("kernels", kernels.join("\n"));
    }
}

/// The chains of laws; a step that an earlier chain has shown is not shown again.
fn chains(derivations: &[Chain]) -> Vec<(&Chain, String)> {
    let mut shown = BTreeSet::new();
    let mut chains = Vec::new();
    for chain in derivations {
        let (new, known): (Vec<_>, Vec<_>) =
            chain.steps.iter().partition(|step| shown.insert(*step));
        let numbered = new.iter().enumerate();
        let mut lines: Vec<String> =
            numbered.map(|(number, step)| format!("{:>3}. {step}", number + 1)).collect();
        if !known.is_empty() {
            lines.push(format!("and {} of the steps above", known.len()));
        }
        chains.push((chain, lines.join("\n")));
    }
    chains
}

impl Chunking {
    fn bounds(&self) -> String {
        let lines = self.exponents.iter().map(|e| {
            let times = if e.count == 1 { String::new() } else { format!(", {} times", e.count) };
            match e.at_most {
                Some(bound) => format!("`{}`: at most {bound}{times}", e.operator),
                None => format!("`{}`: without a bound{times}", e.operator),
            }
        });
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
    }
}

impl Section {
    fn written(&self, format: Format) -> String {
        let Section { level, title, text } = self;
        let text = text.trim_end();
        match (format, level) {
            (Format::Markdown, _) => {
                format!("{} {title}\n\n```text\n{text}\n```\n", "#".repeat(*level))
            }
            (Format::Text, 1) => format!("{title}\n{text}\n"),
            (Format::Text, _) => {
                let lines =
                    text.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n");
                format!("{title}\n{}", lines.collect::<String>())
            }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.document(Format::Text))
    }
}
