//! One function for a program of several stages: a C header that calls the stages' functions in
//! turn, with the arrays that pass between them in the caller's workspace.

use super::{c_type, comment, declaration, identifier};
use sluice_ir::artifact::{ArrayInfo, ArrayRole, Manifest, ParamInfo, ParamRole, Per, StageInfo};
use sluice_ir::binding::Place;
use sluice_ir::staged::Runs;
use std::fmt::Write;

/// A stage and its function.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The stage.
    pub stage: &'a StageInfo,
    /// Name of the function.
    pub symbol: String,
    /// Its parameters.
    pub params: Vec<ParamInfo>,
    /// Bytes of workspace that a call needs.
    pub workspace_bytes: usize,
}

/// The text of a C header (C99, C++) with one function for a program; it includes the headers of the
/// stages.
pub fn wrapper(manifest: &Manifest, entries: &[Entry<'_>], workspace_align: usize) -> String {
    let wrapper = Wrapper { manifest, entries, align: workspace_align };
    let name = &manifest.program;
    let upper = name.to_uppercase();
    let includes: String =
        entries.iter().map(|e| format!("#include \"{}.h\"\n", e.stage.name)).collect();
    let lines = [
        format!(
            "All stages of `{name}`, one after another; arrays and strides are as for each of them."
        ),
        "A final state must not be an initial state's memory.".to_owned(),
    ];
    format!(
        "{}#ifndef SLUICE_{upper}_H\n#define SLUICE_{upper}_H\n\n{includes}#include <stddef.h>\n\n\
         #define {upper}_WORKSPACE_ALIGN {workspace_align}\n\n{}\n{}\n#endif\n",
        comment(&lines),
        wrapper.sizes(),
        wrapper.function()
    )
}

struct Wrapper<'a> {
    manifest: &'a Manifest,
    entries: &'a [Entry<'a>],
    align: usize,
}

/// Memory of the workspace that holds an array: its name in C, and its bytes.
struct Held {
    place: Place,
    name: String,
    ty: &'static str,
    bytes: String,
}

impl Wrapper<'_> {
    /// The parameters of all stages, each with the stage and the place that it stands for.
    fn params(&self) -> impl Iterator<Item = (&StageInfo, &ParamInfo, Place)> {
        self.entries.iter().flat_map(|entry| {
            let place = |param| (entry.stage, param, self.manifest.place(entry.stage, param));
            entry.params.iter().map(place)
        })
    }

    /// The parameters of the program: arrays of the caller as some stage takes or makes them.
    fn declared(&self) -> Vec<ParamInfo> {
        let mut declared = Vec::new();
        for array in &self.manifest.arrays {
            let kinds: &[ParamRole] = match (array.role, array.per) {
                (ArrayRole::Between, _) => continue,
                (ArrayRole::State, _) => &[ParamRole::StateIn, ParamRole::StateOut],
                (ArrayRole::Output, _) => &[ParamRole::TokenOut],
                (ArrayRole::Input, Per::Model) => &[ParamRole::ModelIn],
                (ArrayRole::Input, _) => &[ParamRole::TokenIn],
            };
            for kind in kinds {
                declared.extend(self.stand_in(array, *kind));
            }
        }
        declared
    }

    /// A parameter of the program that is like the first of a stage that stands for the same array.
    fn stand_in(&self, array: &ArrayInfo, kind: ParamRole) -> Option<ParamInfo> {
        let place = match kind {
            ParamRole::TokenOut | ParamRole::StateOut => Place::Made(array.name.clone()),
            _ => Place::Given(array.name.clone()),
        };
        let (_, param, _) = self.params().find(|(_, _, p)| *p == place)?;
        Some(ParamInfo { name: array.name.clone(), kind, ..param.clone() })
    }

    /// What lies in the workspace: intermediate arrays, and states that a later stage reads.
    fn held(&self) -> Vec<Held> {
        let mut held: Vec<Held> = Vec::new();
        for (_, param, place) in self.params() {
            let Place::Made(name) = &place else { continue };
            let array = self.manifest.arrays.iter().find(|array| array.name == *name);
            let read = || {
                let reads = |(_, p, at): (_, &ParamInfo, Place)| at == place && !p.is_output();
                self.params().any(reads)
            };
            let wanted = match array.map(|array| array.role) {
                Some(ArrayRole::Between) => true,
                Some(ArrayRole::State) => read(),
                _ => false,
            };
            if !wanted || held.iter().any(|h| h.place == place) {
                continue;
            }
            let outer = match param.kind {
                ParamRole::StateIn | ParamRole::StateOut => "(size_t)sequences",
                _ => "(size_t)tokens",
            };
            let bytes = param.dims.iter().product::<usize>() * param.dtype.bytes();
            held.push(Held {
                name: format!("{name}_kept"),
                ty: c_type(param.dtype),
                bytes: format!("{outer} * (size_t)heads * {bytes}"),
                place,
            });
        }
        held
    }

    /// Whether a stage runs once a sequence, with token offsets of its own.
    fn once(&self) -> bool {
        self.entries.iter().any(|entry| entry.stage.runs == Runs::Once)
    }

    /// The function that says how large the workspace is.
    fn sizes(&self) -> String {
        let name = &self.manifest.program;
        let align = self.align;
        let scratch = self.entries.iter().map(|entry| entry.workspace_bytes).max().unwrap_or(0);
        let mut text = format!(
            "static inline size_t {name}_aligned(size_t bytes) {{\n    \
             return (bytes + {}) / {align} * {align};\n}}\n\n\
             /* Bytes of the workspace. Calls at the same time need one each. */\n\
             static inline size_t {name}_workspace_bytes(int64_t tokens, int64_t sequences, \
             int32_t heads) {{\n    \
             size_t bytes = {name}_aligned({scratch});\n    (void)tokens, (void)sequences, (void)heads;\n",
            align - 1
        );
        for held in self.held() {
            let _ = writeln!(text, "    bytes += {name}_aligned({});", held.bytes);
        }
        if self.once() {
            let _ = writeln!(text, "    bytes += {name}_aligned(((size_t)sequences + 1) * 8);");
        }
        text + "    return bytes;\n}\n"
    }

    /// The function itself.
    fn function(&self) -> String {
        let name = &self.manifest.program;
        let held = self.held();
        let mut text = format!("static inline void {name}(");
        for param in self.declared() {
            text += &declaration(&param, &self.manifest.arrays);
        }
        let scratch = self.entries.iter().map(|entry| entry.workspace_bytes).max().unwrap_or(0);
        let _ = write!(
            text,
            "\n    const int64_t *cu_seqlens,\n    int64_t sequences,\n    int32_t heads,\n    \
             int32_t groups,\n    void *workspace)\n{{\n    \
             const int64_t tokens = cu_seqlens[sequences];\n    \
             char *at = (char *)workspace + {name}_aligned({scratch});\n    (void)tokens;\n"
        );
        for Held { name: kept, ty, bytes, place } in &held {
            let _ = writeln!(
                text,
                "    {ty} *{kept} = ({ty} *)at;\n    at += {name}_aligned({bytes});"
            );
            if let Some(given) = self.final_state(place) {
                let _ = writeln!(text, "    if ({given}) {kept} = {given};");
            }
        }
        if self.once() {
            text += "    int64_t *once = (int64_t *)at;\n    \
                     for (int64_t i = 0; i <= sequences; i++) once[i] = i;\n";
        }
        text += "    (void)at;\n";
        for entry in self.entries {
            let mut arguments = Vec::new();
            for param in &entry.params {
                let place = self.manifest.place(entry.stage, param);
                arguments.extend(self.arguments(param, &place, &held));
            }
            let offsets = if entry.stage.runs == Runs::Once { "once" } else { "cu_seqlens" };
            let _ = writeln!(
                text,
                "    {}({},\n        {offsets}, sequences, heads, groups, workspace);",
                entry.symbol,
                arguments.join(", ")
            );
        }
        text + "}\n"
    }

    /// The caller's memory for a state after the last token.
    fn final_state(&self, place: &Place) -> Option<String> {
        let Place::Made(name) = place else { return None };
        let of = |param: &ParamInfo| param.kind == ParamRole::StateOut && param.name == *name;
        self.declared().iter().find(|param| of(param)).map(identifier)
    }

    /// The pointer for a parameter of a stage, and its strides.
    fn arguments(&self, param: &ParamInfo, place: &Place, held: &[Held]) -> Vec<String> {
        let over_tokens = matches!(param.kind, ParamRole::TokenIn | ParamRole::TokenOut);
        if let Some(held) = held.iter().find(|h| h.place == *place) {
            let inner: usize = param.dims.iter().product();
            let strides = [format!("(int64_t)heads * {inner}"), inner.to_string()];
            let strides = strides.into_iter().filter(|_| over_tokens);
            return [held.name.clone()].into_iter().chain(strides).collect();
        }
        let (name, kind) = match place {
            Place::Absent => return vec!["NULL".to_owned()],
            // What a stage reads is the caller's own output where another stage has made it.
            Place::Made(name) if over_tokens => (name, ParamRole::TokenOut),
            Place::Given(name) | Place::Made(name) => (name, param.kind),
        };
        let name = identifier(&ParamInfo { name: name.clone(), kind, ..param.clone() });
        let strides = [format!("{name}_token_stride"), format!("{name}_head_stride")];
        [name].into_iter().chain(strides.into_iter().filter(|_| over_tokens)).collect()
    }
}
