//! Tables: constants of the module, copied to shared memory.

use super::emitter::Emitter;
use super::index::Index;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Kernel, Stmt, TileId};
use std::sync::Arc;

/// A table among the module's constants.
pub(super) struct Table<'k> {
    /// Type of the elements.
    pub(super) dtype: Dtype,
    /// The elements.
    pub(super) values: &'k Arc<[f64]>,
}

/// The tables of a kernel.
pub(super) fn tables(kernel: &Kernel) -> Vec<Table<'_>> {
    let phases = kernel.roles.iter().flat_map(|r| [&r.setup, &r.body, &r.finish]);
    phases
        .flatten()
        .filter_map(|statement| match statement {
            Stmt::Table { dst, values } => Some(Table { dtype: kernel.tile(*dst).dtype, values }),
            _ => None,
        })
        .collect()
}

/// Symbol of a table among [`tables`].
pub(super) fn symbol(number: usize) -> String {
    format!("table{number}")
}

impl<'c> Emitter<'c, '_> {
    /// A `Table` statement.
    pub(super) fn table(&self, dst: TileId, values: &Arc<[f64]>) {
        let b = &self.b;
        let tile = self.kernel.tile(dst);
        let same = |t: &Table<'_>| t.dtype == tile.dtype && Arc::ptr_eq(t.values, values);
        let number = tables(self.kernel).iter().position(same).expect("a table of this kernel");
        let name = b.attribute(&format!("@{}", symbol(number)));
        let of = b.parse_type("!llvm.ptr<1>");
        let table = b.value("llvm.mlir.addressof", &[], of, &[("global_name", name)]);
        self.spread(values.len(), |i: Index<'c>| {
            let (row, col) = b.index_split(i, tile.cols);
            let bytes = b.index_mul(i, tile.dtype.bytes());
            let mut from = table;
            if let Some(dynamic) = bytes.dynamic() {
                from = b.advance(from, self.wide(dynamic));
            }
            let value = b.load(b.advance_by(from, bytes.offset()), b.float_type(tile.dtype));
            b.store(value, self.address(dst, row, col));
        });
        self.zero_padding(dst);
    }
}
