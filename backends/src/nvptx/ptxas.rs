//! PTX to machine code by NVIDIA's assembler, with what it reports.

use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::target::Target;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

/// Machine code of one kernel and its resources.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The cubin.
    pub cubin: Vec<u8>,
    /// Registers of one thread.
    pub registers: usize,
    /// Bytes of one thread stored to local memory because registers ran out.
    pub spill_bytes: usize,
    /// Bytes of the stack frame of one thread.
    pub stack_bytes: usize,
    /// Bytes of static shared memory.
    pub shared_bytes: usize,
}

/// What ptxas reports if it does not deal registers to roles as it is told (C7507, C7508), if a call keeps
/// products by warpgroups from running on (C7510), or registers are too few for them to (C7512): the
/// code is right and slow.
const SLOW: [&str; 4] = ["(C7507)", "(C7508)", "(C7510)", "(C7512)"];

/// Assembles PTX with the `ptxas` at a path, through files in `scratch`.
///
/// Where something does not fit the registers, `ptxas` may cut them further, down to 32 a thread, to make
/// room for more blocks. Such code is assembled a second time for one block, and what spills less is kept.
///
/// # Errors
/// If the tool does not start or refuses the text, or a file cannot be written.
pub fn assemble(
    ptxas: &Path,
    ptx: &str,
    target: &Target,
    scratch: &Path,
) -> Result<Assembled, Diagnostic> {
    let (input, output) = (scratch.join("kernel.ptx"), scratch.join("kernel.cubin"));
    let file_error = |e: io::Error| {
        Diagnostic::new(Code::File, format!("`{}`: {e}", scratch.display()))
            .with_help("give a directory that can be written")
    };
    fs::write(&input, ptx).map_err(file_error)?;
    let assembled = |options: &[&str]| {
        let run = Command::new(ptxas)
            .arg("-v")
            .arg(format!("-arch={}", target.name))
            .args(options)
            .arg(&input)
            .arg("-o")
            .arg(&output)
            .output()
            .map_err(|e| {
                let message = format!("`{}` does not start: {e}", ptxas.display());
                Diagnostic::new(Code::MissingTool, message)
                    .with_help("install the CUDA compiler, or ship PTX without machine code")
            })?;
        let report = String::from_utf8_lossy(&run.stderr).into_owned();
        if !run.status.success() {
            return Err(refusal(ptxas, &run.status.to_string(), report.trim_end()));
        }
        if let Some(line) = report.lines().find(|line| SLOW.iter().any(|code| line.contains(code)))
        {
            let message = format!("ptxas would make slow code: {line}");
            let help = "report this with the program as a bug of the compiler; \
                        `--chunk 16` builds it without roles";
            return Err(Diagnostic::new(Code::ToolFailed, message).with_help(help));
        }
        let cubin = fs::read(&output).map_err(file_error)?;
        Ok(Assembled {
            cubin,
            registers: number_after(&report, "Used "),
            spill_bytes: number_before(&report, " bytes spill stores"),
            stack_bytes: number_before(&report, " bytes stack frame"),
            shared_bytes: number_before(&report, " bytes smem"),
        })
    };
    let first = assembled(&[])?;
    if first.spill_bytes == 0 {
        return Ok(first);
    }
    Ok(match assembled(&["--minnctapersm=1"]) {
        Ok(alone) if alone.spill_bytes < first.spill_bytes => alone,
        _ => first,
    })
}

/// Why there is no machine code: the tool's own words, or only how it ended.
fn refusal(ptxas: &Path, status: &str, report: &str) -> Diagnostic {
    let (message, help) = if report.is_empty() {
        let message = format!("`{}` failed without a word, {status}", ptxas.display());
        (message, "is it ptxas? `sluice doctor` shows its version")
    } else {
        let message = format!("ptxas refused the code, {status}: {report}");
        (
            message,
            "if it is ptxas 13.3 or later, report this with the program as a bug of the compiler",
        )
    };
    Diagnostic::new(Code::ToolFailed, message).with_help(help)
}

/// The number in front of a phrase, 0 if the phrase does not occur.
fn number_before(report: &str, phrase: &str) -> usize {
    let before = report.split(phrase).next().filter(|b| b.len() < report.len());
    let digits =
        before.map_or("", |b| &b[b.trim_end_matches(|c: char| c.is_ascii_digit()).len()..]);
    digits.parse().unwrap_or(0)
}

/// The number behind a phrase, 0 if the phrase does not occur.
fn number_after(report: &str, phrase: &str) -> usize {
    let behind = report.split_once(phrase).map_or("", |(_, rest)| rest);
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{number_after, number_before};

    #[test]
    fn reads_the_report_of_ptxas() {
        let report = "ptxas info    : (C7517) wait_group is injected to allow use of registers\n\
                      ptxas info    : Function properties for f\n    \
                      8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n\
                      ptxas info    : Used 208 registers, used 1 barriers, 400 bytes cmem[0]\n";
        assert_eq!(number_after(report, "Used "), 208);
        assert_eq!(number_before(report, " bytes spill stores"), 12);
        assert_eq!(number_before(report, " bytes stack frame"), 8);
        assert_eq!(number_before(report, " bytes smem"), 0);
    }
}
