//! How a kernel prints: one line a tile and a statement; stable, for snapshots and `explain`.

use super::{
    Access, Arg, Band, Body, CopyMap, Expr, Kernel, Law, Mma, Nest, Order, Over, Place, Reduction,
    Row, Rows, Start, Stmt, Swizzle, Sync, TileId, Unit, View, Walk,
};
use std::fmt::{self, Write as _};

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = &self.prepare {
            writeln!(f, "{}", ***before)?;
        }
        writeln!(
            f,
            "kernel {} schedule={} chunk={} parts={} shared={} layout={}",
            self.name, self.schedule, self.chunk, self.parts, self.shared_bytes, self.layout
        )?;
        if self.order != Order::Forward {
            writeln!(f, "  order {}", self.order)?;
        }
        for p in &self.params {
            let by = format!("{:?}", p.sharing).to_lowercase();
            let flags = [(p.split, " split"), (p.transposed, " transposed")];
            let flags: String = flags.iter().filter(|x| x.0).map(|x| x.1).collect();
            let dims = format!("[{}, {}]", p.rows, p.cols);
            writeln!(
                f,
                "  param {} {:?} {} {dims} by {by} align {}{flags}",
                p.name, p.kind, p.dtype, p.align
            )?;
        }
        for (i, t) in self.tiles.iter().enumerate() {
            let carried = if self.carried.contains(&TileId(i)) { " carried" } else { "" };
            let rows = match t.stands_for {
                Rows::Same => String::new(),
                Rows::Pairs { first, width, swapped } => {
                    let way = if swapped { " swapped" } else { "" };
                    format!(" for pairs of {width} from {first}{way}")
                }
            };
            writeln!(
                f,
                "  tile {} {} [{}, {}] {}{carried}{rows}",
                t.name,
                t.dtype,
                t.rows,
                t.cols,
                place(&t.place)
            )?;
        }
        for b in &self.mbarriers {
            writeln!(f, "  mbarrier {} count {} stages {}", b.name, b.count, b.stages)?;
        }
        for role in &self.roles {
            let registers = role.registers.map_or(String::new(), |r| format!(" registers {r}"));
            writeln!(f, "  role {} warps {}{registers}", role.name, role.warps)?;
            for (part, stmts) in
                [("setup", &role.setup), ("body", &role.body), ("finish", &role.finish)]
            {
                writeln!(f, "    {part}:")?;
                for s in stmts {
                    writeln!(f, "      {}", self.stmt(s))?;
                }
            }
        }
        Ok(())
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Columns => "columns".to_owned(),
        Place::Shared(s) => {
            let stages = if s.stages > 1 {
                format!(" x{} by {}", s.stages, s.stage_bytes)
            } else {
                String::new()
            };
            let swizzle = match s.swizzle {
                Swizzle::None => "",
                Swizzle::Xor128 => " xor128",
            };
            format!(
                "shared @{} pitch {} padded {}x{}{stages}{swizzle}",
                s.offset, s.pitch, s.padded_rows, s.padded_cols
            )
        }
    }
}

impl Kernel {
    fn view(&self, v: View) -> String {
        let [blocks, rows, cols] = self.shape(v);
        let name = &self.tile(v.tile).name;
        if blocks == 1 { name.clone() } else { format!("{name}<{blocks}x{rows}x{cols}>") }
    }

    fn arg(&self, a: Arg) -> String {
        format!("{}{}", self.view(a.view), if a.transposed { "'" } else { "" })
    }

    fn product(&self, m: &Mma) -> String {
        let operand = |o: super::Operand| {
            format!("{}{}", self.view(o.view), if o.transposed { "'" } else { "" })
        };
        let start = match m.start {
            Start::Zero => String::new(),
            Start::Dst => format!("{} + ", self.view(m.dst)),
            Start::Tile(v) => format!("{} + ", self.view(v)),
        };
        let band = match m.band {
            Band::Full => "",
            Band::Lower => " lower",
            Band::Upper => " upper",
        };
        let unit = match m.unit {
            Unit::Tensor => "mma",
            Unit::Warpgroup => "wgmma",
            Unit::Scalar => "fma",
        };
        let sum = format!("{start}{} {}", operand(m.a), operand(m.b));
        let then = m
            .then
            .as_ref()
            .map_or(String::new(), |b| format!(" then {}", self.body(b, Some("sum"))));
        format!("{} = {unit}{band} {sum}{then}", self.view(m.dst))
    }

    fn body(&self, body: &Body, sum: Option<&str>) -> String {
        let mut args: Vec<String> = sum.iter().map(|s| (*s).to_owned()).collect();
        args.extend(body.args.iter().map(|a| self.arg(*a)));
        expression(&body.expr, &args)
    }

    /// As in `for i0<4: y[8*i0] = sum i1<16 of a[16*i0 + i1]`.
    fn nest(&self, nest: &Nest) -> String {
        let loops = |from: usize, extents: &[usize]| {
            let one = |(i, n): (usize, &usize)| format!("i{}<{n}", from + i);
            extents.iter().enumerate().map(one).collect::<Vec<_>>().join(" ")
        };
        let outer = if nest.extents.is_empty() {
            String::new()
        } else {
            format!("for {}: ", loops(0, &nest.extents))
        };
        let inner = nest.reduce.map_or(String::new(), |(op, n)| {
            format!("{} {} of ", reduction(op), loops(nest.extents.len(), &[n]))
        });
        let args: Vec<String> = nest.args.iter().map(|a| self.access(a)).collect();
        let value = expression(&nest.expr, &args);
        format!("{outer}{} = {inner}{value}", self.access(&nest.dst))
    }

    /// As in `walk t over i1<64, 4 segments: h[i1] = sum(mul(g[64*t + i1], h[i1]), x[64*t + i1]); ..`
    /// with `h'` for the state after the token.
    fn walk(&self, walk: &Walk) -> String {
        let loops = ["t", "i1", "i2"];
        let element = |a: &Access| self.element(a, &loops);
        let states: Vec<String> = walk.states.iter().map(element).collect();
        let after = walk.states.iter().map(|a| {
            let name = &self.tile(a.tile).name;
            element(a).replacen(name.as_str(), &format!("{name}'"), 1)
        });
        let args: Vec<String> =
            states.iter().cloned().chain(after).chain(walk.args.iter().map(element)).collect();
        let value = |e: &Expr| expression(e, &args);
        let updates: Vec<String> = match &walk.law {
            Law::Free(after) => after.iter().map(value).collect(),
            Law::Linear { ring, rows } => {
                let row = |row: &Row| {
                    let kept = row.gates.iter().zip(&states).filter_map(|(gate, state)| {
                        let gate = gate.as_ref()?;
                        Some(format!("{}({}, {state})", ring.times().name(), value(gate)))
                    });
                    let terms: Vec<String> = kept.chain(row.entry.as_ref().map(value)).collect();
                    match &terms[..] {
                        [] => ring.zero().to_string(),
                        [one] => one.clone(),
                        _ => format!("{}({})", ring.plus().name(), terms.join(", ")),
                    }
                };
                rows.iter().map(row).collect()
            }
        };
        let changes = states.iter().zip(updates).map(|(s, u)| format!("{s} = {u}"));
        let results = walk.results.iter().map(|r| {
            let sum = if r.sum { "sum i2 of " } else { "" };
            format!("{} = {sum}{}", element(&r.dst), value(&r.expr))
        });
        let all: Vec<String> = changes.chain(results).collect();
        let inner = if walk.inner > 1 { format!(" i2<{}", walk.inner) } else { String::new() };
        let lanes = if walk.lanes > 1 { format!(", {} lanes", walk.lanes) } else { String::new() };
        let segments = walk.segments.map_or(String::new(), |s| {
            format!(", {} segments in {}", s.count, self.tile(s.summaries).name)
        });
        format!("walk t over i1<{}{inner}{lanes}{segments}: {}", walk.points, all.join("; "))
    }

    fn access(&self, access: &Access) -> String {
        let loops: Vec<String> = (0..access.strides.len()).map(|i| format!("i{i}")).collect();
        let loops: Vec<&str> = loops.iter().map(String::as_str).collect();
        self.element(access, &loops)
    }

    /// An element by the names of the loops around it.
    fn element(&self, access: &Access, loops: &[&str]) -> String {
        let moves = access.strides.iter().zip(loops).filter(|(s, _)| **s > 0);
        let mut terms: Vec<String> = moves
            .map(|(s, i)| if *s == 1 { (*i).to_owned() } else { format!("{s}*{i}") })
            .collect();
        if access.offset > 0 || terms.is_empty() {
            terms.push(access.offset.to_string());
        }
        format!("{}[{}]", self.tile(access.tile).name, terms.join(" + "))
    }

    /// One statement as text.
    pub fn stmt(&self, stmt: &Stmt) -> String {
        let v = |v: &View| self.view(*v);
        match stmt {
            Stmt::Load { dst, param, ahead, col } => {
                let (dst, param) = (&self.tile(*dst).name, &self.param(*param).name);
                format!("load {dst}{} <- {param}{}", at_column(*col), further(*ahead))
            }
            Stmt::Store { param, src, col } => {
                let (param, src) = (&self.param(*param).name, &self.tile(*src).name);
                format!("store {param} <- {src}{}", at_column(*col))
            }
            Stmt::Put { param, body, .. } => {
                format!("put {} <- {}", self.param(*param).name, self.body(body, None))
            }
            Stmt::Commit => "commit".to_owned(),
            Stmt::WaitLoads { pending } => format!("wait loads, {pending} pending"),
            Stmt::Sync(Sync::Cta) => "barrier".to_owned(),
            Stmt::Sync(Sync::Role) => "barrier of role".to_owned(),
            Stmt::Sync(Sync::Arrive(b)) => format!("arrive {}", self.mbarriers[*b].name),
            Stmt::Sync(Sync::Wait(b)) => format!("wait {}", self.mbarriers[*b].name),
            Stmt::Sync(Sync::Free { barrier, ahead }) => {
                format!("free {}{}", self.mbarriers[*barrier].name, further(*ahead))
            }
            Stmt::Sync(Sync::ProxyFence) => "proxy fence".to_owned(),
            Stmt::Sync(Sync::Products { pending }) => format!("wait products, {pending} pending"),
            Stmt::Fill { dst, value } => format!("{} = {value}", self.tile(*dst).name),
            Stmt::Map { dst, body } => format!("{} = {}", v(dst), self.body(body, None)),
            Stmt::Mma(m) => self.product(m),
            Stmt::Begin(m) => format!("begin {}", self.product(&Mma { then: None, ..m.clone() })),
            Stmt::Reduce { op, dst, src, over } => {
                let op = reduction(*op);
                let over = match over {
                    Over::Cols => "columns",
                    Over::Rows => "rows",
                };
                format!("{} = {op} over {over} {}", v(dst), v(src))
            }
            Stmt::Run { dst, body, mask } => {
                format!("{} = run {mask} {}", v(dst), self.body(body, None))
            }
            Stmt::Score { dst, p, a, to, from, mask, .. } => {
                format!("{} = score {mask} {} {} decay {} - {}", v(dst), v(p), v(a), v(to), v(from))
            }
            Stmt::Mix { dst, w, y, to, from, mask } => {
                format!("{} = mix {mask} {} {} decay {} - {}", v(dst), v(w), v(y), v(to), v(from))
            }
            Stmt::Inverse { dst, src, upper, diagonal: _ } => {
                format!("{} = inverse {}{}", v(dst), if *upper { "upper " } else { "" }, v(src))
            }
            Stmt::Copy { dst, src, map } => {
                format!("{} = copy {} {}", v(dst), v(src), copy_map(*map))
            }
            Stmt::Nest(nest) => self.nest(nest),
            Stmt::Walk(walk) => self.walk(walk),
            Stmt::Table { dst, values } => {
                format!("{} = table {}", self.tile(*dst).name, table(values))
            }
        }
    }
}

fn reduction(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
    }
}

/// The numbers of a short table; of a long one the first and how many there are.
fn table(values: &[f64]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = values.iter().take(SHOWN).map(f64::to_string).collect();
    let rest =
        if values.len() > SHOWN { format!(" ... {} in all", values.len()) } else { String::new() };
    format!("{}{rest}", shown.join(" "))
}

fn further(ahead: usize) -> String {
    if ahead > 0 { format!(" ahead {ahead}") } else { String::new() }
}

fn at_column(col: usize) -> String {
    if col > 0 { format!(" at column {col}") } else { String::new() }
}

fn copy_map(map: CopyMap) -> String {
    match map {
        CopyMap::Whole => String::new(),
        CopyMap::Rows { dst_first, src_first, count } => {
            format!("rows {src_first}+{count} to {dst_first}")
        }
        CopyMap::Cols { dst_first, src_first, count } => {
            format!("columns {src_first}+{count} to {dst_first}")
        }
        CopyMap::OntoDiagonal { per } => format!("onto diagonal, {per} each"),
        CopyMap::FromDiagonal { per } => format!("from diagonal, {per} each"),
        CopyMap::Transpose => "transposed".to_owned(),
        CopyMap::PastTokens { per } => format!("past tokens of {per} rows"),
    }
}

fn expression(expr: &Expr, args: &[String]) -> String {
    let e = |x: &Expr| expression(x, args);
    match expr {
        // The checker prints expressions that it refuses.
        Expr::Arg(i) => args.get(*i).cloned().unwrap_or_else(|| format!("argument {i}")),
        Expr::Const(x) => x.to_string(),
        Expr::Index(i) => format!("i{i}"),
        Expr::Unary(f, a) => format!("{}({})", f.name(), e(a)),
        Expr::Binary(f, a, b) => format!("{}({}, {})", f.name(), e(a), e(b)),
        Expr::Select(c, a, b) => format!("select({}, {}, {})", e(c), e(a), e(b)),
        Expr::Keep { mask, row_step, col_step, value } => {
            let mut text = format!("keep_{mask}");
            if (*row_step, *col_step) != (1, 1) {
                write!(text, "_{row_step}x{col_step}").expect("writing to a string");
            }
            format!("{text}({})", e(value))
        }
        Expr::Live { rows: _, value } => format!("live({})", e(value)),
    }
}
