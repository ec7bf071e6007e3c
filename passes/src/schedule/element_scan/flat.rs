//! States of several dimensions as vectors of all their elements, where nothing tells elements apart: then
//! the grid's parts can be as narrow as is good for memory.

use sluice_ir::elements::Elements;
use sluice_ir::kernel::Param;
use sluice_ir::step::{Dim, DimId, Op, Recurrence};

/// An elementwise form whose values are scalars or have the dimensions of the states, all in one.
pub(super) struct Flat {
    /// The form with one dimension for several.
    pub(super) form: Elements,
    /// The size of that dimension, and the sizes of those that it stands for.
    elements: usize,
    sizes: Vec<usize>,
}

impl Flat {
    /// None if some value has other dimensions, or some function sees more than an element.
    pub(super) fn of(form: &Elements, size: impl Fn(DimId) -> usize) -> Option<Flat> {
        let dims = &form.recurrence.states.first()?.dims;
        let fits = |other: &[DimId]| other.is_empty() || other == dims;
        let Recurrence { inputs, states, nodes, .. } = &form.recurrence;
        let pointwise = |op: &Op| {
            use Op::{Binary, Const, Input, Select, State, Unary};
            matches!(op, Input(_) | State(_) | Const(_) | Unary(..) | Binary(..) | Select(..))
        };
        let shapes = inputs.iter().map(|i| &i.dims).chain(states.iter().map(|s| &s.dims));
        let all = shapes.chain(nodes.iter().map(|n| &n.dims)).all(|dims| fits(dims));
        if dims.len() < 2 || !all || !nodes.iter().all(|n| pointwise(&n.op)) {
            return None;
        }
        let sizes: Vec<usize> = dims.iter().map(|d| size(*d)).collect();
        let elements = sizes.iter().product();
        let mut form = form.clone();
        let Recurrence { dims: declared, inputs, states, nodes, .. } = &mut form.recurrence;
        let mut name = "elements".to_owned();
        while declared.iter().any(|d| d.name == name) {
            name.push('_');
        }
        declared.push(Dim { name, size: Some(elements), formula: None });
        let flat = vec![DimId(declared.len() - 1)];
        let shapes = inputs.iter_mut().map(|i| &mut i.dims);
        let shapes = shapes.chain(states.iter_mut().map(|s| &mut s.dims));
        for dims in shapes.chain(nodes.iter_mut().map(|n| &mut n.dims)) {
            if !dims.is_empty() {
                dims.clone_from(&flat);
            }
        }
        Some(Flat { form, elements, sizes })
    }

    /// A param of the kernel with the dimensions that it has in memory.
    pub(super) fn restore(&self, param: &mut Param) {
        if param.dims == [self.elements] {
            param.dims.clone_from(&self.sizes);
        }
    }
}
