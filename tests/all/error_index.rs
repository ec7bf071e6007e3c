//! The error index: every code has a page and every page a code, and what the pages show is what is printed.
//!
//! Pages are prose around examples. An example is a case of `tests/cases/errors/`, named in a line
//! `From [..]` and followed by its text and its diagnostics; or a `console` block, whose commands are
//! run; or a line `Checked by` with the test that raises the code. With `INSTA_UPDATE=always` the
//! examples are written anew, as snapshots are.

use crate::cli::{Folder, PROGRAM};
use crate::{errors, files, root, trial};
use libtest_mimic::{Failed, Trial};
use sluice::error_index::page;
use sluice_ir::diagnostic::Code;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

pub(crate) fn trials() -> Vec<Trial> {
    let pages = Code::ALL.iter().map(|&code| {
        trial(format!("error_index::{code}"), move || {
            check(&path(code.number()), |t| page_of(code, t))
        })
    });
    let readme = trial("error_index::README".to_owned(), || check(&path("README"), index));
    let others = trial("error_index::every_page_has_a_code".to_owned(), orphans);
    pages.chain([readme, others]).collect()
}

fn path(stem: &str) -> PathBuf {
    root().join("docs/errors").join(stem).with_extension("md")
}

/// Compares a page with what it should be.
fn check(path: &Path, expected: impl Fn(&str) -> Result<String, Failed>) -> Result<(), Failed> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let expected = expected(&text)?;
    if text == expected {
        return Ok(());
    }
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        return Ok(fs::write(path, expected)?);
    }
    let at = text.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = at.unwrap_or(text.lines().count().min(expected.lines().count()));
    Err(format!(
        "{}:{}: expected `{}`; `make bless` writes the examples anew",
        path.display(),
        line + 1,
        expected.lines().nth(line).unwrap_or_default()
    )
    .into())
}

fn orphans() -> Result<(), Failed> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    for stem in files(&root().join("docs/errors"), "md").iter().filter_map(stem) {
        if stem != "README" && !Code::ALL.iter().any(|code| code.number() == stem) {
            return Err(format!("no code {stem}").into());
        }
    }
    Ok(())
}

/// The page of a code with its examples as they are printed today.
fn page_of(code: Code, text: &str) -> Result<String, Failed> {
    if page(&code.number().to_lowercase()) != Some(text) {
        return Err("`sluice explain` prints another page".into());
    }
    let mut expected = format!("# {code}: {}\n", code.title());
    let mut examples = 0;
    let mut lines = text.lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        expected.push_str(line);
        expected.push('\n');
        if let Some(rest) = line.strip_prefix("From [`") {
            expected.push_str(&case(code, rest)?);
            skip_blocks(&mut lines);
        } else if line == "```console" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            for command in block.iter().filter_map(|line| line.strip_prefix("$ ")) {
                expected.push_str(&transcript(code, command)?);
            }
            expected.push_str("```\n");
        } else if let Some(rest) = line.strip_prefix("Checked by `") {
            named_test(rest)?;
        } else {
            continue;
        }
        examples += 1;
    }
    if examples == 0 || !text.contains("\n## Example\n") || !text.contains("\n## Remedy\n") {
        return Err("a page has a meaning, an example and a remedy".into());
    }
    Ok(expected)
}

/// A case and what is printed of it; `rest` begins with the name of its file.
fn case(code: Code, rest: &str) -> Result<String, Failed> {
    let stem = rest.split(".sluice`").next().expect("splitting gives a part");
    if !stem.starts_with(code.number()) {
        return Err(format!("{stem} is a case of another code").into());
    }
    let path = root().join("tests/cases/errors").join(format!("{stem}.sluice"));
    let source = fs::read_to_string(&path).map_err(|e| format!("{stem}: {e}"))?;
    let printed = errors::rendered(&path, stem)?;
    Ok(format!("\n```sluice\n{source}```\n\n```text\n{printed}```\n\n"))
}

/// Leaves out the blocks that follow and the empty lines around them.
fn skip_blocks<'a>(lines: &mut Peekable<impl Iterator<Item = &'a str>>) {
    while let Some(line) = lines.next_if(|line| line.is_empty() || line.starts_with("```")) {
        if !line.is_empty() {
            lines.by_ref().take_while(|line| *line != "```").for_each(drop);
        }
    }
}

/// A command line with the errors that it prints, one of which has the code.
fn transcript(code: Code, command: &str) -> Result<String, Failed> {
    let mut words: Vec<&str> = command.split(' ').collect();
    let variables: Vec<_> = words.iter().map_while(|word| word.split_once('=')).collect();
    words.drain(..variables.len());
    let [sluice, arguments @ ..] = &words[..] else { return Err("an empty command".into()) };
    assert_eq!(*sluice, "sluice", "only this command is run");
    let folder = Folder::new();
    archives(&folder);
    let done = folder.sluice_with(arguments, &variables);
    if done.status != Some(1) || !done.stderr.contains(&format!("error[{code}]")) {
        return Err(format!("`{command}` printed\n{}", done.stderr).into());
    }
    Ok(format!("$ {command}\n{}", done.stderr))
}

/// The data that the examples of commands name.
fn archives(folder: &Folder) {
    let whole = folder.arrays();
    let mut less = whole.clone();
    less.remove("g");
    let mut growing = whole.clone();
    growing.get_mut("g").expect("the program has a gate").data[1] = 0.5;
    for (name, arrays) in [("in.npz", whole), ("no_gate.npz", less), ("growing.npz", growing)] {
        folder.archive(name, &arrays);
    }
}

/// ``NAME` in [`FILE`](..)``: the file has a test, or a part of one, of that name.
fn named_test(rest: &str) -> Result<(), Failed> {
    let mut parts = rest.split('`').step_by(2);
    let (Some(name), Some(file)) = (parts.next(), parts.next()) else {
        return Err("expected a test and its file".into());
    };
    let text = fs::read_to_string(root().join(file)).map_err(|e| format!("{file}: {e}"))?;
    if text.contains(&format!("fn {name}(")) { Ok(()) } else { Err(format!("no {name}").into()) }
}

/// The list of pages, with the program of the command examples.
fn index(text: &str) -> Result<String, Failed> {
    let (before, rest) = text.split_once("|---|---|\n").ok_or("no table of codes")?;
    let (_, prose) = rest.split_once("\n## ").ok_or("no second section")?;
    let (middle, rest) = prose.split_once("```sluice\n").ok_or("no program")?;
    let (_, after) = rest.split_once("```\n").ok_or("an open block")?;
    let row = |code: &Code| format!("| [{code}]({code}.md) | {} |\n", code.title());
    let rows: String = Code::ALL.iter().map(row).collect();
    Ok(format!("{before}|---|---|\n{rows}\n## {middle}```sluice\n{PROGRAM}```\n{after}"))
}
