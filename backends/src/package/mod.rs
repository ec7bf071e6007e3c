//! What wraps code so that other projects can embed it: the C header of a scalar function.

mod wrapper;

pub use wrapper::{Entry, wrapper};

use sluice_ir::artifact::{ArrayInfo, ParamInfo, ParamRole};
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Kernel, Order};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a header says beside the kernel's own parameters.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Documentation lines of the program.
    pub doc: &'a [String],
    /// Sizes bound at build time.
    pub dims: &'a BTreeMap<String, usize>,
    /// What is known of the arrays, their documentation above all.
    pub arrays: &'a [ArrayInfo],
    /// Bytes of workspace that a call needs.
    pub workspace_bytes: usize,
    /// Alignment of the workspace in bytes.
    pub workspace_align: usize,
}

/// Names of the functions' own parameters and variables, and words that C or C++ keeps for itself.
const TAKEN: &[&str] = &[
    "and",
    "at",
    "auto",
    "bool",
    "break",
    "case",
    "char",
    "class",
    "const",
    "continue",
    "cu_seqlens",
    "default",
    "delete",
    "do",
    "double",
    "else",
    "enum",
    "extern",
    "float",
    "for",
    "goto",
    "groups",
    "heads",
    "if",
    "inline",
    "int",
    "long",
    "new",
    "not",
    "once",
    "or",
    "private",
    "public",
    "register",
    "restrict",
    "return",
    "sequences",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "switch",
    "template",
    "this",
    "tokens",
    "typedef",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "while",
    "workspace",
    "xor",
];

/// The text of a C header (C99, C++) that declares a kernel's scalar function.
pub fn header(kernel: &Kernel, about: Header<'_>) -> String {
    let name = &kernel.name;
    let upper = name.to_uppercase();
    let params: Vec<ParamInfo> = kernel.params.iter().map(ParamInfo::from).collect();
    let mut text = String::new();
    text += &introduction(name, about);
    let _ = write!(
        text,
        "#ifndef SLUICE_{upper}_H\n#define SLUICE_{upper}_H\n\n#include <stdint.h>\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         /* Size and alignment of the workspace in bytes. Calls at the same time need one each. */\n\
         #define {upper}_WORKSPACE_BYTES {}\n#define {upper}_WORKSPACE_ALIGN {}\n\n",
        about.workspace_bytes, about.workspace_align
    );
    text += &conventions(&params, kernel.order);
    let _ = write!(text, "void {name}(");
    for param in &params {
        text += &declaration(param, about.arrays);
    }
    text += "\n    const int64_t *cu_seqlens,\n    int64_t sequences,\n    int32_t heads,\n    \
             int32_t groups,\n    void *workspace);\n\n\
             #ifdef __cplusplus\n}\n#endif\n\n#endif\n";
    text
}

fn introduction(name: &str, about: Header<'_>) -> String {
    let mut lines: Vec<String> = about.doc.iter().map(|l| l.trim().to_owned()).collect();
    if lines.is_empty() {
        lines.push(format!("Gated linear recurrence `{name}`."));
    }
    lines.push(String::new());
    if !about.dims.is_empty() {
        let dims: Vec<_> = about.dims.iter().map(|(d, n)| format!("{d} = {n}")).collect();
        lines.push(format!("Built for {}.", dims.join(", ")));
    }
    lines.push(format!(
        "Made by Sluice {}; link with the C library's mathematics (-lm).",
        env!("CARGO_PKG_VERSION")
    ));
    comment(&lines)
}

fn conventions(params: &[ParamInfo], order: Order) -> String {
    let mut lines = vec![
        "The tokens of all sequences lie in one axis: sequence i has the tokens from".to_owned(),
        "cu_seqlens[i] up to cu_seqlens[i + 1], which has sequences + 1 entries and starts at 0."
            .to_owned(),
        "groups divides heads. Token arrays are [tokens, heads or groups, ...] with strides in"
            .to_owned(),
        "elements for the first two axes; everything else is dense and row-major.".to_owned(),
    ];
    if let Some(columns) = order.grid() {
        lines.push(format!(
            "The tokens of a sequence are a grid of {columns} columns, row after row: their number is"
        ));
        lines.push(format!(
            "a multiple of {columns}. The recurrence runs along each column in turn."
        ));
    }
    if matches!(order, Order::Reverse | Order::ReverseColumns(_)) {
        lines
            .push("The recurrence runs from the last token of a sequence to the first.".to_owned());
    }
    let has = |role| params.iter().any(|p| p.kind == role);
    if has(ParamRole::StateIn) {
        lines.push("An initial state may be null: the program's own initial value.".to_owned());
    }
    if has(ParamRole::StateOut) {
        lines
            .push("A final state may be null: not wanted. It may be the initial state.".to_owned());
    }
    if params.iter().any(|p| p.dtype.bytes() == 2) {
        lines
            .push("Elements of 16 bits are passed as the bits of a bf16 or f16 number.".to_owned());
    }
    comment(&lines)
}

/// A comment of whole lines, which cannot be ended by what it holds.
fn comment(lines: &[String]) -> String {
    let mut text = "/*\n".to_owned();
    for line in lines {
        let line = line.replace("*/", "* /");
        text += format!(" * {line}").trim_end();
        text += "\n";
    }
    text + " */\n"
}

/// The C type of an element.
fn c_type(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F64 => "double",
        Dtype::F32 => "float",
        Dtype::F16 | Dtype::Bf16 => "uint16_t",
    }
}

/// One parameter with its shape and documentation, and its strides.
fn declaration(param: &ParamInfo, arrays: &[ArrayInfo]) -> String {
    let (constant, direction) = if param.is_output() { ("", "out") } else { ("const ", "in") };
    let ty = c_type(param.dtype);
    let rows = if param.by_group { "groups" } else { "heads" };
    let outer: &[&str] = match param.kind {
        ParamRole::TokenIn | ParamRole::TokenOut => &["tokens", rows],
        ParamRole::ModelIn => &[rows],
        ParamRole::StateIn | ParamRole::StateOut => &["sequences", "heads"],
    };
    let dims = param.dims.iter().map(usize::to_string);
    let shape: Vec<_> = outer.iter().map(|s| (*s).to_owned()).chain(dims).collect();
    let name = identifier(param);
    let about = arrays.iter().filter(|a| a.name == param.name).flat_map(|a| &a.doc);
    let about: String =
        about.map(|line| format!("; {}", line.trim().replace("*/", "* /"))).collect();
    let mut text = format!(
        "\n    {constant}{ty} *{name}, /* {direction}: {} [{}]{about} */",
        param.dtype,
        shape.join(", ")
    );
    if matches!(param.kind, ParamRole::TokenIn | ParamRole::TokenOut) {
        let _ = write!(text, "\n    int64_t {name}_token_stride, int64_t {name}_head_stride,");
    }
    text
}

/// The name of a parameter in C; a state is one name in the program and two parameters here.
fn identifier(param: &ParamInfo) -> String {
    match param.kind {
        ParamRole::StateIn => format!("{}_initial", param.name),
        ParamRole::StateOut => format!("{}_final", param.name),
        _ if TAKEN.contains(&param.name.as_str()) => format!("{}_", param.name),
        _ => param.name.clone(),
    }
}
