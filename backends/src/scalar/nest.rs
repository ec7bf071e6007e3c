//! Loop nests and tables of constants.

use super::build::{BUILDS, Int, Ptr};
use super::entry::{Emitter, Place};
use super::pointwise::Site;
use super::workspace::WORKSPACE_ALIGN;
use inkwell::values::FloatValue;
use sluice_ir::kernel::{Access, Nest, TileId};

impl<'c> Emitter<'c, '_> {
    pub(super) fn nest(&self, nest: &Nest, place: Place<'c>) {
        self.each_point(&nest.extents, &mut vec![], &|point: &[Int<'c>]| {
            let value = |loops: &[Int<'c>]| {
                let b = &self.build;
                let read = |a| b.load(b.real, self.access(a, loops, place)).into_float_value();
                let args: Vec<_> = nest.args.iter().map(read).collect();
                self.value(&nest.expr, &args, Site::Point(loops))
            };
            let value = match nest.reduce {
                None => value(point),
                Some((op, count)) => self.combine(op, count, |k| value(&[point, &[k]].concat())),
            };
            self.put(nest.dst.tile, self.access(&nest.dst, point, place), value);
        });
    }

    /// Runs `body` at every point of the loops that are left; `outer` has the indices so far.
    fn each_point(&self, rest: &[usize], outer: &mut Vec<Int<'c>>, body: &dyn Fn(&[Int<'c>])) {
        let Some((extent, inner)) = rest.split_first() else { return body(outer) };
        self.build.times(*extent, |index| {
            outer.push(index);
            self.each_point(inner, outer, body);
            outer.pop();
        });
    }

    /// The address of an element at a point.
    pub(super) fn access(&self, access: &Access, loops: &[Int<'c>], place: Place<'c>) -> Ptr<'c> {
        let b = &self.build;
        let step =
            |at, (stride, index): (&usize, &Int<'c>)| b.add(at, b.mul(*index, b.int(*stride)));
        let at = access.strides.iter().zip(loops).fold(b.int(access.offset), step);
        b.element(b.real, self.tile_base(access.tile, place.chunk), at)
    }

    /// Copies a table from the program's constants.
    pub(super) fn table(&self, dst: TileId, values: &[f64], place: Place<'c>) {
        let b = &self.build;
        let dtype = self.kernel.tile(dst).dtype;
        let stored = |x: f64| if self.options.round_tiles { dtype.round(x) } else { x };
        let values: Vec<FloatValue<'c>> = values.iter().map(|x| b.number(stored(*x))).collect();
        let array = b.real.const_array(&values);
        let global = b.module.add_global(array.get_type(), None, "table");
        global.set_initializer(&array);
        global.set_constant(true);
        global.set_linkage(inkwell::module::Linkage::Private);
        global.set_alignment(WORKSPACE_ALIGN as u32);
        let bytes = array.get_type().size_of().expect("an array of numbers has a size");
        // A later instance of a tile begins at any element.
        let element = b.real.get_bit_width() / 8;
        let to = self.tile_base(dst, place.chunk);
        let from = global.as_pointer_value();
        b.raw.build_memcpy(to, element, from, WORKSPACE_ALIGN as u32, bytes).expect(BUILDS);
    }
}
