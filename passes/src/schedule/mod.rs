//! From terms and steps to kernels: which tile lives where, and in what order statements run.

mod draft;
mod order;
mod params;
mod place;
mod scan;
mod step;

pub use scan::{fused_scan, longest_chunk};
pub use step::step;

use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::Order;
use sluice_ir::step::{DimId, Recurrence};
use sluice_ir::target::Target;
use std::collections::BTreeMap;

/// What a build binds.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// Size of each named dimension.
    pub extents: &'a BTreeMap<String, usize>,
    /// Element type of vectors.
    pub dtype: Dtype,
    /// Element type of states and of values between statements: f32, or f64 to verify.
    pub compute: Dtype,
    /// The machine.
    pub target: &'a Target,
}

impl Build<'_> {
    /// Size of a dimension of a recurrence.
    ///
    /// # Panics
    /// If the dimension has no size; the driver asks for missing ones first.
    pub(crate) fn size(&self, recurrence: &Recurrence, dim: DimId) -> usize {
        recurrence.size(dim, self.extents).expect("the driver has bound every dimension")
    }

    /// In which order a plain recurrence, whose states share one, visits the tokens.
    ///
    /// # Panics
    /// If a dimension has no size; the driver asks for missing ones first.
    pub fn order(&self, recurrence: &Recurrence) -> Order {
        let order = recurrence.states.first().map(|s| s.order).unwrap_or_default();
        order.with(|dim| self.size(recurrence, dim))
    }

    /// Element type of operands of matrix products on tensor cores: that of vectors if it has 16 bits,
    /// else bf16, which has the range of f32.
    pub fn operand(&self) -> Dtype {
        if self.dtype.bytes() == 2 { self.dtype } else { Dtype::Bf16 }
    }

    /// Sizes of dimensions of a recurrence.
    pub(crate) fn sizes(&self, recurrence: &Recurrence, dims: &[DimId]) -> Vec<usize> {
        dims.iter().map(|d| self.size(recurrence, *d)).collect()
    }
}
