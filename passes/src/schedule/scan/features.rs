//! Features that are products of others: written where they are read, one nest of loops for all rows.

use super::Scan;
use super::value::Form;
use crate::schedule::draft::Home;
use egg::Id;
use sluice_ir::diagnostic::Diagnostic;
use sluice_ir::kernel::{Access, Expr, Nest, Stmt, TileId};
use sluice_ir::pairs;
use sluice_ir::pointwise::Binary;
use sluice_ir::seq::Seq;

/// One nest: loops over rows and products, the place of the first product, and how far apart the
/// elements lie that are multiplied.
struct Products {
    extents: Vec<usize>,
    dst: Access,
    args: [Access; 2],
    factor: Expr,
}

fn times(a: Expr, b: Expr) -> Expr {
    Expr::Binary(Binary::Mul, Box::new(a), Box::new(b))
}

impl Scan<'_> {
    /// Products of features with a constant factor, to the columns of a tile from one on.
    pub(super) fn features(
        &mut self,
        (dst, first): (TileId, usize),
        id: Id,
        scale: f64,
    ) -> Result<(), Diagnostic> {
        match *self.term.node(id) {
            Seq::Kron([a, b]) => {
                let (x, y) = (self.view(a, Form::Shared)?.tile, self.view(b, Form::Shared)?.tile);
                let ([rows, outer], [_, inner]) = (self.size(a), self.size(b));
                let to = self.draft.tiles[dst.0].cols;
                self.multiplied(Products {
                    extents: vec![rows, outer, inner],
                    dst: Access { tile: dst, offset: first, strides: vec![to, inner, 1] },
                    args: [
                        Access { tile: x, offset: 0, strides: vec![outer, 1, 0] },
                        Access { tile: y, offset: 0, strides: vec![inner, 0, 1] },
                    ],
                    factor: Expr::Const(scale),
                });
            }
            Seq::Pairs([factor, x]) => {
                let factor = self.term.facts(factor).count() as f64;
                self.pairs((dst, first), x, [factor * scale, scale])?;
            }
            ref other => unreachable!("`{other}` is no product of features"),
        }
        Ok(())
    }

    /// Pairs of different elements of a row times the first factor, of equal ones times the second.
    fn pairs(
        &mut self,
        (dst, first): (TileId, usize),
        x: Id,
        [different, equal]: [f64; 2],
    ) -> Result<(), Diagnostic> {
        let source = self.view(x, Form::Shared)?.tile;
        let [rows, width] = self.size(x);
        // A ring of elements, so that the second of each pair stands at the same distance.
        let home = Home::Shared { stages: 1 };
        let ring = self.draft.tile("ring", [rows, 2 * width], self.build.compute, home);
        self.draft.body.push(Stmt::Nest(Nest {
            extents: vec![rows, 2, width],
            dst: Access { tile: ring, offset: 0, strides: vec![2 * width, width, 1] },
            reduce: None,
            expr: Expr::Arg(0),
            args: vec![Access { tile: source, offset: 0, strides: vec![width, 0, 1] }],
        }));
        let to = self.draft.tiles[dst.0].cols;
        let whole = pairs::count(width) / width;
        let mut products = |[ahead, count]: [usize; 2], extent: usize, factor: Expr| {
            self.multiplied(Products {
                extents: vec![rows, count, extent],
                dst: Access {
                    tile: dst,
                    offset: first + ahead * width,
                    strides: vec![to, width, 1],
                },
                args: [
                    Access { tile: source, offset: 0, strides: vec![width, 0, 1] },
                    Access { tile: ring, offset: ahead, strides: vec![2 * width, 1, 1] },
                ],
                factor,
            });
        };
        let by_distance = match different == equal {
            true => Expr::Const(equal),
            false => {
                let [different, equal] = [different, equal].map(|x| Box::new(Expr::Const(x)));
                Expr::Select(Box::new(Expr::Index(1)), different, equal)
            }
        };
        products([0, whole], width, by_distance);
        // Half a turn meets every pair twice.
        if width.is_multiple_of(2) {
            products([whole, 1], width / 2, Expr::Const(different));
        }
        Ok(())
    }

    fn multiplied(&mut self, products: Products) {
        let product = times(Expr::Arg(0), Expr::Arg(1));
        let plain = products.factor == Expr::Const(1.0);
        self.draft.body.push(Stmt::Nest(Nest {
            extents: products.extents,
            dst: products.dst,
            reduce: None,
            expr: if plain { product } else { times(product, products.factor) },
            args: products.args.to_vec(),
        }));
    }

    /// Products of features that nobody else reads, below a constant factor.
    pub(super) fn scaled_features(&self, id: Id) -> Option<(Id, f64)> {
        let id = self.base(id);
        if self.uses[usize::from(id)] != 1 || self.is_made(id) {
            return None;
        }
        match *self.term.node(id) {
            Seq::Kron(_) | Seq::Pairs(_) => Some((id, 1.0)),
            Seq::Binary(Binary::Mul, [x, f]) => {
                let f = self.constant(f)?;
                self.scaled_features(x).map(|(made, scale)| (made, scale * f))
            }
            _ => None,
        }
    }
}
