//! Loop nests and tables: values worked out by hand, what the checker refuses, and their text.

mod walks;

use super::*;
use crate::pointwise::Ring;
use crate::problem::{Array, Arrays, Problem};

/// Element `offset + strides * loops` of a tile.
fn at(tile: usize, offset: usize, strides: &[usize]) -> Access {
    Access { tile: TileId(tile), offset, strides: strides.to_vec() }
}

fn binary(f: Binary, a: Expr, b: Expr) -> Expr {
    Expr::Binary(f, Box::new(a), Box::new(b))
}

/// Tiles 0, 1, ... hold the inputs `[rows, cols]`, the next one is the result, filled with 7; a
/// barrier stands between any two statements.
fn kernel(inputs: &[[usize; 2]], result: ([usize; 2], Dtype), statements: Vec<Stmt>) -> Kernel {
    let mut kernel = Kernel {
        name: "nests".into(),
        schedule: Schedule::Step,
        chunk: 1,
        order: Order::Forward,
        params: vec![],
        layout: Layout::Lanes(Lanes::SINGLE),
        parts: 1,
        tiles: vec![],
        carried: vec![],
        shared_bytes: 0,
        mbarriers: vec![],
        roles: vec![],
        prepare: None,
    };
    let mut setup = vec![];
    let all = inputs.iter().map(|size| (*size, Dtype::F32)).chain([result]);
    for (i, ([rows, cols], dtype)) in all.enumerate() {
        let is_input = i < inputs.len();
        let place = Shared {
            offset: kernel.shared_bytes,
            pitch: (cols * dtype.bytes()).next_multiple_of(16),
            padded_rows: rows,
            padded_cols: cols,
            stages: 1,
            stage_bytes: 0,
            swizzle: Swizzle::None,
        };
        kernel.shared_bytes += rows * place.pitch;
        let name = if is_input { format!("x{i}") } else { "y".to_owned() };
        kernel.params.push(Param {
            name: name.clone(),
            kind: if is_input { ParamKind::ModelIn } else { ParamKind::StateOut },
            dtype: Dtype::F64,
            sharing: Sharing::Head,
            dims: vec![rows, cols],
            rows,
            cols,
            split: false,
            transposed: false,
            align: 8,
        });
        kernel.tiles.push(Tile {
            name,
            rows,
            cols,
            dtype,
            place: Place::Shared(place),
            stands_for: Rows::Same,
        });
        setup.push(if is_input {
            Stmt::Load { dst: TileId(i), param: ParamId(i), ahead: 0, col: 0 }
        } else {
            Stmt::Fill { dst: TileId(i), value: 7.0 }
        });
    }
    let y = inputs.len();
    setup.extend([Stmt::Commit, Stmt::WaitLoads { pending: 0 }]);
    for statement in statements {
        setup.extend([Stmt::Sync(Sync::Cta), statement]);
    }
    setup.push(Stmt::Sync(Sync::Cta));
    let finish = vec![Stmt::Store { param: ParamId(y), src: TileId(y), col: 0 }];
    let (name, body) = ("all".into(), vec![]);
    kernel.roles = vec![Role { name, warps: 1, registers: None, setup, body, finish }];
    kernel
}

/// The result of the statements on inputs `(size, elements)`.
fn run(
    inputs: &[([usize; 2], &[f64])],
    result: ([usize; 2], Dtype),
    rounding: Rounding,
    statements: Vec<Stmt>,
) -> Vec<f64> {
    let sizes: Vec<[usize; 2]> = inputs.iter().map(|(size, _)| *size).collect();
    let kernel = check(kernel(&sizes, result, statements)).expect("a legal kernel");
    let array = |(i, ([rows, cols], data)): (usize, &([usize; 2], &[f64]))| {
        let shape = vec![1, *rows, *cols];
        (format!("x{i}"), Array { shape, data: data.to_vec() })
    };
    let arrays: Arrays = inputs.iter().enumerate().map(array).collect();
    eval(&kernel, &Problem::dense(&[], 1, 0, 1), &arrays, rounding)["y"].data.clone()
}

/// `y[r, c] = x[c, r] + 10 c`, for the first two columns of three.
fn turned() -> Nest {
    let place = binary(Binary::Mul, Expr::Const(10.0), Expr::Index(1));
    Nest {
        extents: vec![3, 2],
        dst: at(1, 0, &[3, 1]),
        reduce: None,
        expr: binary(Binary::Add, Expr::Arg(0), place),
        args: vec![at(0, 0, &[1, 3])],
    }
}

/// `y[0, r] = sum or maximum over c of x[r, c] * x[0, c]`, written from element 1 on.
fn combined(op: Reduction) -> Nest {
    Nest {
        extents: vec![2],
        dst: at(1, 1, &[1]),
        reduce: Some((op, 3)),
        expr: binary(Binary::Mul, Expr::Arg(0), Expr::Arg(1)),
        args: vec![at(0, 0, &[3, 1]), at(0, 0, &[0, 1])],
    }
}

const X: ([usize; 2], &[f64]) = ([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, -6.0]);

#[test]
fn a_nest_writes_the_elements_that_it_names() {
    let exact = |n: Nest, size| run(&[X], (size, Dtype::F32), Rounding::Exact, vec![Stmt::Nest(n)]);
    assert_eq!(exact(turned(), [3, 3]), [1.0, 14.0, 7.0, 2.0, 15.0, 7.0, 3.0, 4.0, 7.0]);
    assert_eq!(exact(combined(Reduction::Sum), [1, 4]), [7.0, 14.0, -4.0, 7.0]);
    assert_eq!(exact(combined(Reduction::Max), [1, 4]), [7.0, 9.0, 10.0, 7.0]);
    // No loop: one point. The index of a reduction comes after those of the loops.
    let point = Nest {
        extents: vec![],
        dst: at(1, 2, &[]),
        reduce: Some((Reduction::Sum, 6)),
        expr: binary(Binary::Mul, Expr::Arg(0), Expr::Index(0)),
        args: vec![at(0, 0, &[1])],
    };
    assert_eq!(exact(point, [1, 3]), [7.0, 7.0, 2.0 + 6.0 + 12.0 + 20.0 - 30.0]);
}

#[test]
fn a_nest_updates_in_place() {
    let doubled = Nest {
        extents: vec![2, 2],
        dst: at(1, 1, &[3, 1]),
        reduce: None,
        expr: binary(Binary::Add, Expr::Arg(0), Expr::Arg(1)),
        args: vec![at(1, 1, &[3, 1]), at(0, 0, &[3, 1])],
    };
    let twice = vec![Stmt::Nest(doubled.clone()), Stmt::Nest(doubled)];
    let got = run(&[X], ([2, 3], Dtype::F32), Rounding::Exact, twice);
    assert_eq!(got, [7.0, 9.0, 11.0, 7.0, 15.0, 17.0]);
}

#[test]
fn tables_and_nests_round_to_the_tile() {
    let third = 1.0 / 3.0;
    let table = || Stmt::Table { dst: TileId(0), values: [third, 1.5, -2.0].into() };
    let result = ([1, 3], Dtype::Bf16);
    assert_eq!(run(&[], result, Rounding::Exact, vec![table()]), [third, 1.5, -2.0]);
    let rounded = Dtype::Bf16.round(third);
    assert_eq!(run(&[], result, Rounding::Stored, vec![table()]), [rounded, 1.5, -2.0]);
    let to_second = Nest {
        extents: vec![],
        dst: at(0, 1, &[]),
        reduce: None,
        expr: Expr::Const(third),
        args: vec![],
    };
    let statements = vec![table(), Stmt::Nest(to_second)];
    assert_eq!(run(&[], result, Rounding::Stored, statements), [rounded, rounded, -2.0]);
}

/// Changes a legal nest; the checker must say `why`.
fn refused(why: &str, nest: Nest, change: impl FnOnce(&mut Nest)) {
    let mut nest = nest;
    change(&mut nest);
    let kernel = kernel(&[[2, 3]], ([3, 3], Dtype::F32), vec![Stmt::Nest(nest)]);
    let error = check(kernel).expect_err(why);
    assert!(error.contains(why), "{error}");
}

#[test]
fn nests_that_are_not_legal() {
    refused("element 9 of the 9 of y", turned(), |n| n.dst.offset = 2);
    refused("element 6 of the 6 of x0", turned(), |n| n.args[0].offset = 1);
    refused("element 8 of the 6 of x0", combined(Reduction::Sum), |n| n.args[1].strides[1] = 4);
    refused("1 strides of y for 2 loops", turned(), |n| n.dst.strides = vec![1]);
    refused("1 strides of x0 for 2 loops", combined(Reduction::Sum), |n| {
        n.args[0].strides = vec![3];
    });
    refused("two points write one element", turned(), |n| n.dst.strides = vec![0, 1]);
    refused("two points write one element", turned(), |n| n.dst.strides = vec![1, 1]);
    refused("two points write one element", turned(), |n| n.dst.strides = vec![1, 2]);
    refused("loops of [3, 0] iterations", turned(), |n| n.extents[1] = 0);
    refused("loops of [1, 1, 1, 1, 1] iterations", turned(), |n| n.extents = vec![1; 5]);
    refused("argument 1 of 1", turned(), |n| n.expr = Expr::Arg(1));
    refused("index of loop 2 of 2", turned(), |n| n.expr = Expr::Index(2));
    refused("neither row nor column", turned(), |n| {
        n.expr = Expr::Live { rows: 1, value: Box::new(Expr::Arg(0)) };
    });
    refused("neither row nor column", turned(), |n| {
        let value = Box::new(Expr::Arg(0));
        n.expr = Expr::Keep { mask: Mask::Incl, row_step: 1, col_step: 1, value };
    });
    // The destination may be read at the point's own element only.
    refused("y is read where another point writes it", turned(), |n| {
        n.args[0] = at(1, 0, &[1, 3]);
    });
    refused("y is read where another point writes it", combined(Reduction::Sum), |n| {
        n.args[0] = at(1, 1, &[1, 1]);
    });
}

#[test]
fn a_grid_has_columns() {
    let with = |order| check(Kernel { order, ..kernel(&[], ([1, 1], Dtype::F32), vec![]) });
    for order in [Order::Columns(0), Order::ReverseColumns(0)] {
        assert_eq!(with(order), Err("a grid without columns".to_owned()));
    }
    assert!(with(Order::Columns(1)).is_ok());
}

#[test]
fn strides_in_any_order_and_loops_of_one_are_legal() {
    let legal = |change: &dyn Fn(&mut Nest)| {
        let mut nest = turned();
        change(&mut nest);
        check(kernel(&[[2, 3]], ([3, 3], Dtype::F32), vec![Stmt::Nest(nest)])).expect("legal");
    };
    legal(&|n| n.dst.strides = vec![1, 3]);
    legal(&|n| n.dst.strides = vec![3, 2]);
    legal(&|n| {
        n.extents = vec![3, 1];
        n.dst.strides = vec![1, 0];
    });
    legal(&|n| n.args[0] = n.dst.clone());
}

#[test]
fn an_index_outside_of_a_nest_and_a_table_of_another_size() {
    let body = Body { expr: Expr::Index(0), args: vec![] };
    let map = Stmt::Map { dst: View { tile: TileId(0), blocks: 1 }, body };
    let error = check(kernel(&[], ([1, 3], Dtype::F32), vec![map])).expect_err("an index");
    assert!(error.contains("index of loop 0 of 0"), "{error}");
    let table = Stmt::Table { dst: TileId(0), values: [1.0, 2.0].into() };
    let error = check(kernel(&[], ([1, 3], Dtype::F32), vec![table])).expect_err("too short");
    assert!(error.contains("2 numbers for 3"), "{error}");
}

#[test]
fn nests_need_a_barrier_only_where_they_share_a_tile() {
    let kernel = kernel(&[[2, 3], [2, 3]], ([3, 3], Dtype::F32), vec![]);
    let copy = |dst, src| {
        Stmt::Nest(Nest {
            extents: vec![6],
            dst: at(dst, 0, &[1]),
            reduce: None,
            expr: Expr::Arg(0),
            args: vec![at(src, 0, &[1])],
        })
    };
    let after_first = |second: Stmt| {
        let mut hazards = Hazards::default();
        hazards.apply(&kernel, &copy(2, 0), 0);
        hazards.conflict(&kernel, &second, 0)
    };
    assert_eq!(after_first(copy(1, 0)), None);
    assert!(after_first(copy(0, 1)).is_some_and(|e| e.contains("may still read")));
    assert!(after_first(copy(1, 2)).is_some_and(|e| e.contains("reads what other warps wrote")));
    assert!(after_first(copy(2, 1)).is_some_and(|e| e.contains("overwrites what other warps")));
    let table = Stmt::Table { dst: TileId(2), values: [0.0; 9].into() };
    assert!(after_first(table).is_some_and(|e| e.contains("overwrites what other warps")));
}

#[test]
fn nests_that_reach_different_rows_of_a_tile_need_no_barrier() {
    let row = |tile, first: usize| Nest {
        extents: vec![3],
        dst: at(tile, 3 * first, &[1]),
        reduce: None,
        expr: Expr::Const(1.0),
        args: vec![],
    };
    let reads = Nest { args: vec![at(1, 3, &[1])], ..row(0, 0) };
    let conflict = |first: &Nest, second: &Nest| {
        let kernel = kernel(&[X.0], ([2, 3], Dtype::F32), vec![]);
        let mut hazards = Hazards::default();
        hazards.apply(&kernel, &Stmt::Nest(first.clone()), 0);
        hazards.conflict(&kernel, &Stmt::Nest(second.clone()), 0)
    };
    assert_eq!(conflict(&row(1, 0), &row(1, 1)), None);
    assert_eq!(conflict(&row(1, 0), &reads), None);
    assert!(conflict(&row(1, 1), &reads).is_some());
    assert!(conflict(&reads, &row(1, 1)).is_some());
    // Two rows from the first on reach the second.
    let both = Nest { extents: vec![2, 3], dst: at(1, 0, &[3, 1]), ..row(1, 0) };
    assert!(conflict(&both, &row(1, 1)).is_some());
}

#[test]
fn nests_and_tables_print_their_loops_and_elements() {
    let kernel = kernel(&[[2, 3]], ([3, 3], Dtype::F32), vec![]);
    let text = |stmt| kernel.stmt(&stmt);
    let first = text(Stmt::Nest(turned()));
    assert_eq!(first, "for i0<3 i1<2: y[3*i0 + i1] = add(x0[i0 + 3*i1], mul(10, i1))");
    let second = text(Stmt::Nest(combined(Reduction::Max)));
    assert_eq!(second, "for i0<2: y[i0 + 1] = max i1<3 of mul(x0[3*i0 + i1], x0[i1])");
    let point = Nest { extents: vec![], reduce: None, expr: Expr::Const(0.5), ..turned() };
    let point = Nest { dst: at(1, 0, &[]), args: vec![], ..point };
    assert_eq!(text(Stmt::Nest(point)), "y[0] = 0.5");
    let table = |values: Vec<f64>| text(Stmt::Table { dst: TileId(1), values: values.into() });
    assert_eq!(table(vec![1.0, -0.5]), "y = table 1 -0.5");
    assert_eq!(table(vec![2.0; 100]), "y = table 2 2 2 2 2 2 2 2 ... 100 in all");
}
