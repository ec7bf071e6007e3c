//! Joins factors that are one number a row, so that each element is multiplied once.
//!
//! In: statements with pointwise bodies.  Out: the same, where several such factors of one product are a
//! tile of their own, made before.

use super::draft;
use sluice_ir::dtype::Dtype;
use sluice_ir::kernel::{Arg, Body, Expr, Kernel, Place, Stmt, Tile, TileId, View};
use sluice_ir::pointwise::{Binary, Unary};

/// A factor of rows: a tile of one column, or a number.
#[derive(Clone, Copy, PartialEq)]
enum Factor {
    Rows(TileId),
    Number(f64),
}

/// Joins the row factors of every body; `body` is what runs in one iteration.
pub(super) fn joined(kernel: &mut Kernel, body: Vec<Stmt>) -> Vec<Stmt> {
    let mut joins = Joins { kernel, made: Vec::new(), out: Vec::new() };
    for mut stmt in body {
        match &mut stmt {
            Stmt::Map { dst, body } => joins.rewrite(*dst, body, 0),
            // The first argument is the sum.
            Stmt::Mma(m) => m.then.iter_mut().for_each(|then| joins.rewrite(m.dst, then, 1)),
            _ => {}
        }
        let written = stmt.writes();
        let reads = |f: &Factor| matches!(f, Factor::Rows(t) if written.contains(t));
        joins.made.retain(|(factors, _)| !factors.iter().any(reads));
        joins.out.push(stmt);
    }
    joins.out
}

struct Joins<'a> {
    kernel: &'a mut Kernel,
    /// Factors that have been joined, and where their product is.
    made: Vec<(Vec<Factor>, TileId)>,
    out: Vec<Stmt>,
}

/// A body that is rewritten: its arguments before and after, and the number of the first.
struct Rewriting {
    before: Vec<Arg>,
    after: Vec<Arg>,
    first: usize,
}

impl Rewriting {
    fn argument(&mut self, arg: Arg) -> Expr {
        let at = self.after.iter().position(|a| *a == arg).unwrap_or_else(|| {
            self.after.push(arg);
            self.after.len() - 1
        });
        Expr::Arg(self.first + at)
    }
}

fn times(a: Expr, b: Expr) -> Expr {
    Expr::Binary(Binary::Mul, Box::new(a), Box::new(b))
}

impl Joins<'_> {
    fn rewrite(&mut self, dst: View, body: &mut Body, first: usize) {
        if dst.blocks > 1 || self.kernel.tile(dst.tile).cols == 1 {
            return;
        }
        let before = std::mem::take(&mut body.args);
        let mut rewriting = Rewriting { before, after: Vec::new(), first };
        body.expr = self.rewritten(&body.expr, &mut rewriting);
        body.args = rewriting.after;
    }

    fn rewritten(&mut self, expr: &Expr, r: &mut Rewriting) -> Expr {
        let mut of = |this: &mut Self, x: &Expr| Box::new(this.rewritten(x, r));
        match expr {
            Expr::Binary(Binary::Mul, ..) => self.multiplied(expr, r),
            Expr::Binary(f, a, b) => Expr::Binary(*f, of(self, a), of(self, b)),
            Expr::Unary(f, x) => Expr::Unary(*f, of(self, x)),
            Expr::Select(c, a, b) => Expr::Select(of(self, c), of(self, a), of(self, b)),
            Expr::Keep { mask, row_step, col_step, value } => {
                let (mask, row_step, col_step) = (*mask, *row_step, *col_step);
                Expr::Keep { mask, row_step, col_step, value: of(self, value) }
            }
            Expr::Live { rows, value } => Expr::Live { rows: *rows, value: of(self, value) },
            Expr::Arg(i) if *i >= r.first => r.argument(r.before[*i - r.first]),
            Expr::Arg(_) | Expr::Const(_) | Expr::Index(_) => expr.clone(),
        }
    }

    /// A product whose row factors are joined, if they are several.
    fn multiplied(&mut self, product: &Expr, r: &mut Rewriting) -> Expr {
        let (mut factors, mut rest) = (Vec::new(), Vec::new());
        self.split(product, r, (&mut factors, &mut rest));
        let of_rows = factors.iter().any(|f| matches!(f, Factor::Rows(_)));
        if !of_rows || factors.len() < 2 || rest.is_empty() {
            let Expr::Binary(f, a, b) = product else { unreachable!("a product is of two") };
            let [a, b] = [a, b].map(|x| Box::new(self.rewritten(x, r)));
            return Expr::Binary(*f, a, b);
        }
        let tile = self.joint(factors);
        let rest = rest.into_iter().map(|x| self.rewritten(x, r)).reduce(times);
        let factor = r.argument(Arg { view: View { tile, blocks: 1 }, transposed: false });
        times(rest.expect("there is one"), factor)
    }

    /// The factors of a product: those of rows, and the rest.
    fn split<'e>(
        &self,
        expr: &'e Expr,
        r: &Rewriting,
        (factors, rest): (&mut Vec<Factor>, &mut Vec<&'e Expr>),
    ) {
        match expr {
            Expr::Binary(Binary::Mul, a, b) => {
                self.split(a, r, (factors, rest));
                self.split(b, r, (factors, rest));
            }
            Expr::Unary(Unary::Neg, x) => {
                factors.push(Factor::Number(-1.0));
                self.split(x, r, (factors, rest));
            }
            Expr::Const(x) => factors.push(Factor::Number(*x)),
            Expr::Arg(i) if *i >= r.first && self.is_of_rows(r.before[*i - r.first]) => {
                factors.push(Factor::Rows(r.before[*i - r.first].view.tile));
            }
            other => rest.push(other),
        }
    }

    fn is_of_rows(&self, arg: Arg) -> bool {
        let tile = self.kernel.tile(arg.view.tile);
        let exact = tile.dtype == Dtype::F32 && tile.shared().is_some();
        exact && arg.view.blocks == 1 && !arg.transposed && tile.cols == 1 && tile.rows > 1
    }

    /// The tile of the product of factors, at least one of which is a tile.
    fn joint(&mut self, factors: Vec<Factor>) -> TileId {
        if let Some((_, tile)) = self.made.iter().find(|(of, _)| *of == factors) {
            return *tile;
        }
        let mut number = 1.0;
        let mut args = Vec::new();
        for factor in &factors {
            match factor {
                Factor::Number(x) => number *= x,
                Factor::Rows(tile) => {
                    let view = View { tile: *tile, blocks: 1 };
                    args.push(Arg { view, transposed: false });
                }
            }
        }
        let like = self.kernel.tile(args[0].view.tile).clone();
        let place = Place::Shared(draft::shared(like.rows, 1, like.dtype, 1));
        self.kernel.tiles.push(Tile { name: "factor".to_owned(), place, ..like });
        let tile = TileId(self.kernel.tiles.len() - 1);
        let expr = (0..args.len()).map(Expr::Arg).reduce(times).expect("one is a tile");
        let expr = if number == 1.0 { expr } else { times(expr, Expr::Const(number)) };
        let dst = View { tile, blocks: 1 };
        self.out.push(Stmt::Map { dst, body: Body { expr, args } });
        self.made.push((factors, tile));
        tile
    }
}
