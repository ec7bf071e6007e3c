//! How arrays are bound to the parameters of an entry point: shapes, checks, bytes.
//!
//! Every launcher (scalar code in this process, a GPU) passes dense arrays in the layout of
//! [`crate::problem::Arrays`] and finds here what each parameter must look like.

use crate::artifact::{ArrayRole, Manifest, ParamInfo, ParamRole, StageInfo};
use crate::diagnostic::{Code, Diagnostic};
use crate::dtype::Dtype;
use crate::kernel::{Order, Param, ParamKind, Sharing};
use crate::problem::{Array, Arrays, Problem};
use crate::staged::From as Origin;

/// The elements in memory order, little endian, each rounded as [`Dtype::round`] does.
pub fn encode(dtype: Dtype, values: &[f64]) -> Vec<u8> {
    match dtype {
        Dtype::F64 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F32 => values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        Dtype::F16 => {
            values.iter().flat_map(|x| half::f16::from_f32(*x as f32).to_le_bytes()).collect()
        }
        Dtype::Bf16 => {
            values.iter().flat_map(|x| half::bf16::from_f32(*x as f32).to_le_bytes()).collect()
        }
    }
}

/// The inverse of [`encode`]; `bytes` holds whole elements.
pub fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let (pairs, quads, octets) = (bytes.as_chunks().0, bytes.as_chunks().0, bytes.as_chunks().0);
    match dtype {
        Dtype::F64 => octets.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Dtype::F32 => quads.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::F16 => pairs.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
        Dtype::Bf16 => pairs.iter().map(|b| half::bf16::from_le_bytes(*b).to_f64()).collect(),
    }
}

/// Checks what every kernel relies on.
///
/// # Errors
///
/// [`Code::BadArray`] if `cu_seqlens` does not start at 0 or falls, [`Code::BadBinding`] if the
/// groups do not divide the heads.
pub fn check_problem(problem: &Problem) -> Result<(), Diagnostic> {
    let offsets = &problem.cu_seqlens;
    if offsets.first() != Some(&0) || offsets.windows(2).any(|w| w[1] < w[0]) {
        return Err(Diagnostic::new(Code::BadArray, "`cu_seqlens` must start at 0 and never fall")
            .with_help(
                "pass one offset more than there are sequences: `[0, end of the first, ..]`",
            ));
    }
    if problem.groups == 0 || !problem.heads.is_multiple_of(problem.groups) {
        let (heads, groups) = (problem.heads, problem.groups);
        return Err(Diagnostic::new(
            Code::BadBinding,
            format!("{groups} groups do not divide {heads} heads"),
        )
        .with_help("give inputs declared `by group` a number of rows that divides the heads"));
    }
    Ok(())
}

/// Checks what a kernel that visits the tokens in an order relies on.
///
/// # Errors
///
/// Those of [`check_problem`], and [`Code::BadArray`] for a sequence that is not whole rows of the
/// order's grid.
pub fn check_launch(problem: &Problem, order: Order) -> Result<(), Diagnostic> {
    check_problem(problem)?;
    let Some(columns) = order.grid() else { return Ok(()) };
    let mut lengths = problem.cu_seqlens.windows(2).map(|ends| ends[1] - ends[0]);
    let Some(length) = lengths.find(|n| !n.is_multiple_of(columns)) else { return Ok(()) };
    let message = format!("{length} tokens are no whole rows of a grid with {columns} columns");
    Err(Diagnostic::new(Code::BadArray, message).with_help(
        "pass sequences whose numbers of tokens are multiples of the columns, row after row",
    ))
}

/// Which memory stands behind a parameter of a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The caller's array of this name; an initial state may be absent.
    Given(String),
    /// What a stage makes under this name.
    Made(String),
    /// None: nobody gives a value, or wants it.
    Absent,
}

impl Manifest {
    /// Which memory a parameter of a stage stands for.
    pub fn place(&self, stage: &StageInfo, param: &ParamInfo) -> Place {
        let link = || stage.states.iter().find(|s| s.name == param.name).map(|s| &s.link);
        let name = param.name.clone();
        match param.kind {
            ParamRole::TokenOut => Place::Made(name),
            ParamRole::TokenIn | ParamRole::ModelIn => {
                let array = self.arrays.iter().find(|a| a.name == name);
                let prepared = || self.variants().any(|v| v.prepares(&name));
                match array.map(|a| a.role) {
                    Some(ArrayRole::Output | ArrayRole::Between) => Place::Made(name),
                    None if prepared() => Place::Made(name),
                    Some(ArrayRole::Input | ArrayRole::State) | None => Place::Given(name),
                }
            }
            ParamRole::StateIn => match link().map(|l| &l.from) {
                Some(Origin::Last(array)) => Place::Made(array.clone()),
                Some(Origin::Initial(state)) => Place::Given(state.clone()),
                Some(Origin::Declared) => Place::Absent,
                None => Place::Given(name),
            },
            ParamRole::StateOut => match link().map(|l| &l.to) {
                Some(Some(array)) => Place::Made(array.clone()),
                Some(None) => Place::Absent,
                None => Place::Made(name),
            },
        }
    }
}

impl ParamInfo {
    /// Extents of the whole array, outermost first.
    pub fn shape(&self, problem: &Problem) -> Vec<usize> {
        let rows = if self.by_group { problem.groups } else { problem.heads };
        let outer = match self.kind {
            ParamRole::TokenIn | ParamRole::TokenOut => vec![problem.tokens(), rows],
            ParamRole::ModelIn => vec![rows],
            ParamRole::StateIn | ParamRole::StateOut => vec![problem.sequences(), problem.heads],
        };
        outer.into_iter().chain(self.dims.iter().copied()).collect()
    }

    /// Bytes of the whole array.
    pub fn bytes(&self, problem: &Problem) -> usize {
        self.shape(problem).iter().product::<usize>() * self.dtype.bytes()
    }

    /// Whether the entry point writes it.
    pub fn is_output(&self) -> bool {
        matches!(self.kind, ParamRole::TokenOut | ParamRole::StateOut)
    }

    /// Token stride and head stride in elements of a dense array, if the entry point takes them.
    pub fn strides(&self, problem: &Problem) -> Option<[i64; 2]> {
        let heads = if self.by_group { problem.groups } else { problem.heads };
        let inner: usize = self.dims.iter().product();
        let extent = |n: usize| i64::try_from(n).expect("arrays in memory are below 2^63 elements");
        match self.kind {
            ParamRole::TokenIn | ParamRole::TokenOut => {
                Some([extent(heads * inner), extent(inner)])
            }
            ParamRole::ModelIn | ParamRole::StateIn | ParamRole::StateOut => None,
        }
    }

    /// The bytes of an input; none if it is a state that the caller leaves at its initial value.
    ///
    /// # Errors
    ///
    /// [`Code::MissingArray`] or, unless the array has the extents of [`ParamInfo::shape`] (those
    /// after the outer ones may be grouped otherwise), [`Code::BadArray`].
    pub fn input(&self, problem: &Problem, arrays: &Arrays) -> Result<Option<Vec<u8>>, Diagnostic> {
        let Some(array) = arrays.get(&self.name) else {
            if self.kind == ParamRole::StateIn {
                return Ok(None);
            }
            return Err(Diagnostic::new(Code::MissingArray, format!("no array `{}`", self.name))
                .with_help(format!("pass one of shape {:?}", self.shape(problem))));
        };
        let want = self.shape(problem);
        let outer = want.len() - self.dims.len();
        let same_outer = array.shape.get(..outer) == Some(&want[..outer]);
        if !same_outer || array.data.len() != want.iter().product::<usize>() {
            return Err(Diagnostic::new(
                Code::BadArray,
                format!("array `{}` has shape {:?}", self.name, array.shape),
            )
            .with_help(format!("the program takes {want:?}")));
        }
        Ok(Some(encode(self.dtype, &array.data)))
    }

    /// Bytes for an output before a launch: NaN everywhere, so that what is not written is seen.
    pub fn poison(&self, problem: &Problem) -> Vec<u8> {
        vec![0xff; self.bytes(problem)]
    }

    /// The array of an output's bytes.
    pub fn output(&self, problem: &Problem, bytes: &[u8]) -> Array {
        Array { shape: self.shape(problem), data: decode(self.dtype, bytes) }
    }
}

impl From<&Param> for ParamInfo {
    fn from(param: &Param) -> Self {
        ParamInfo {
            name: param.name.clone(),
            kind: match param.kind {
                ParamKind::TokenIn => ParamRole::TokenIn,
                ParamKind::ModelIn => ParamRole::ModelIn,
                ParamKind::TokenOut => ParamRole::TokenOut,
                ParamKind::StateIn => ParamRole::StateIn,
                ParamKind::StateOut => ParamRole::StateOut,
            },
            dtype: param.dtype,
            dims: param.dims.clone(),
            by_group: param.sharing == Sharing::Group,
            align: param.align,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ArrayInfo, Per, StateInfo};
    use crate::staged::{Runs, StateLink};
    use std::collections::BTreeMap;

    fn info(kind: ParamRole, dtype: Dtype) -> ParamInfo {
        ParamInfo { name: "x".into(), kind, dtype, dims: vec![3, 2], by_group: true, align: 4 }
    }

    fn problem() -> Problem {
        Problem { heads: 4, groups: 2, ..Problem::dense(&[], 2, 5, 4) }
    }

    #[test]
    fn encoding_rounds_and_decoding_inverts() {
        for &dtype in Dtype::ALL {
            // The last is just above a tie of bf16: to be rounded up, not to even.
            let above_tie = f64::from((1.0 + 1.0 / 256.0f32).next_up());
            let values = [0.0, 1.0, -2.5, 1.0 / 3.0, 1e-7, -65504.0, above_tie];
            let rounded = values.map(|x| dtype.round(x));
            let bytes = encode(dtype, &values);
            assert!(rounded[6] > 1.0 + 1.0 / 256.0 || dtype == Dtype::F16);
            assert_eq!(bytes.len(), 7 * dtype.bytes());
            assert_eq!(decode(dtype, &bytes), rounded);
        }
    }

    #[test]
    fn shapes_and_strides_follow_the_role() {
        let problem = problem();
        assert_eq!(info(ParamRole::TokenIn, Dtype::F32).shape(&problem), [10, 2, 3, 2]);
        assert_eq!(info(ParamRole::TokenIn, Dtype::F32).strides(&problem), Some([12, 6]));
        assert_eq!(info(ParamRole::ModelIn, Dtype::F32).shape(&problem), [2, 3, 2]);
        assert_eq!(info(ParamRole::StateOut, Dtype::F32).shape(&problem), [2, 4, 3, 2]);
        assert_eq!(info(ParamRole::StateOut, Dtype::F32).strides(&problem), None);
    }

    #[test]
    fn poison_is_nan_in_every_dtype() {
        for &dtype in Dtype::ALL {
            let out = info(ParamRole::TokenOut, dtype);
            let array = out.output(&problem(), &out.poison(&problem()));
            assert!(array.data.len() == 120 && array.data.iter().all(|x| x.is_nan()));
        }
    }

    #[test]
    fn absent_and_misshapen_arrays_are_refused() {
        let (problem, mut arrays) = (problem(), Arrays::new());
        let code = |kind, arrays: &Arrays| {
            info(kind, Dtype::F32).input(&problem, arrays).map(|b| b.is_some()).map_err(|e| e.code)
        };
        assert_eq!(code(ParamRole::TokenIn, &arrays), Err(Code::MissingArray));
        assert_eq!(code(ParamRole::StateIn, &arrays), Ok(false));
        arrays.insert("x".into(), Array::zeros(&[10, 2, 6]));
        assert_eq!(code(ParamRole::TokenIn, &arrays), Ok(true));
        assert_eq!(code(ParamRole::StateIn, &arrays), Err(Code::BadArray));
    }

    #[test]
    fn params_of_stages_stand_for_arrays() {
        let state = |name: &str, from, to: Option<&str>| StateInfo {
            name: name.to_owned(),
            link: StateLink { from, to: to.map(str::to_owned) },
        };
        let named = str::to_owned;
        let stage = StageInfo {
            name: named("p_2"),
            runs: Runs::Tokens,
            class: String::new(),
            states: vec![
                state("R", Origin::Initial(named("S")), Some("R_last")),
                state("m", Origin::Last(named("m_kept")), None),
                state("t", Origin::Declared, None),
            ],
            variants: vec![],
            segments: None,
        };
        let array = |name: &str, role| ArrayInfo {
            name: named(name),
            role,
            per: Per::Token,
            dtype: Dtype::F32,
            dims: vec![],
            by_group: false,
            doc: vec![],
        };
        let arrays = vec![array("x", ArrayRole::Input), array("g", ArrayRole::Between)];
        let manifest = Manifest {
            manifest_version: 0,
            compiler: String::new(),
            program: named("p"),
            doc: vec![],
            dims: BTreeMap::new(),
            arrays,
            stages: vec![stage],
        };
        let place = |name: &str, kind| {
            let param = ParamInfo { name: named(name), ..info(kind, Dtype::F32) };
            manifest.place(&manifest.stages[0], &param)
        };
        let (given, made) = (|n| Place::Given(named(n)), |n| Place::Made(named(n)));
        assert_eq!(place("x", ParamRole::TokenIn), given("x"));
        assert_eq!(place("g", ParamRole::TokenIn), made("g"));
        assert_eq!(place("o", ParamRole::TokenOut), made("o"));
        assert_eq!(place("R", ParamRole::StateIn), given("S"));
        assert_eq!(place("R", ParamRole::StateOut), made("R_last"));
        assert_eq!(place("m", ParamRole::StateIn), made("m_kept"));
        assert_eq!(place("m", ParamRole::StateOut), Place::Absent);
        assert_eq!(place("t", ParamRole::StateIn), Place::Absent);
    }

    #[test]
    fn impossible_problems_are_refused() {
        let code = |p: Problem| check_problem(&p).map_err(|e| e.code);
        assert_eq!(code(problem()), Ok(()));
        assert_eq!(code(Problem { groups: 3, ..problem() }), Err(Code::BadBinding));
        assert_eq!(code(Problem { cu_seqlens: vec![0, 5, 4], ..problem() }), Err(Code::BadArray));
        assert_eq!(code(Problem { cu_seqlens: vec![], ..problem() }), Err(Code::BadArray));
    }

    #[test]
    fn a_grid_needs_whole_rows_in_every_sequence() {
        let code = |order, cu_seqlens: &[usize]| {
            let problem = Problem { cu_seqlens: cu_seqlens.to_vec(), ..problem() };
            check_launch(&problem, order).map_err(|e| e.code)
        };
        for grid in [Order::Columns(4), Order::ReverseColumns(4)] {
            assert_eq!(code(grid, &[0, 8, 8, 12]), Ok(()));
            assert_eq!(code(grid, &[0, 8, 14, 16]), Err(Code::BadArray));
        }
        assert_eq!(code(Order::Reverse, &[0, 7]), Ok(()));
        assert_eq!(code(Order::Forward, &[0, 7, 6]), Err(Code::BadArray));
    }
}
