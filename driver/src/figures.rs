//! What a kernel costs, counted from its form.

use crate::work::{Work, work};
use serde::Serialize;
use sluice_ir::kernel::{Kernel, Param, ParamKind, Stmt, Unit};
use sluice_ir::target::Target;
use std::fmt;

/// Counts of one kernel. Work is for one token of one head.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Entry point.
    pub entry: String,
    /// `scan`, `elements`, `step` or `loop`.
    pub schedule: &'static str,
    /// Tokens of one iteration.
    pub chunk: usize,
    /// Parts into which the value axis is cut.
    pub parts: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Tiles in shared memory.
    pub shared_tiles: usize,
    /// Tiles in registers.
    pub register_tiles: usize,
    /// Bytes of shared memory.
    pub shared_bytes: usize,
    /// Statements of one iteration.
    pub statements: usize,
    /// Matrix products of one iteration, on tensor cores and on ordinary units.
    pub products: [usize; 2],
    /// Flops of those products for a token, on tensor cores and on ordinary units.
    pub product_flops: [f64; 2],
    /// Flops of everything else for a token, a function of any kind counted as one.
    pub other_flops: f64,
    /// Bytes of device memory read and written for a token; heads of a group share nothing.
    pub bytes: f64,
    /// Nanoseconds for a token of one head when the target only moves those bytes, or only does those
    /// flops: the larger of both.
    pub floor: f64,
    /// Registers of a thread and bytes spilled to local memory, once there is machine code.
    pub assembled: Option<[usize; 2]>,
}

impl Figures {
    /// Counts a kernel for a target.
    pub fn of(kernel: &Kernel, target: &Target) -> Figures {
        let shared = kernel.tiles.iter().filter(|tile| tile.shared().is_some()).count();
        let body: Vec<&Stmt> = kernel.roles.iter().flat_map(|role| &role.body).collect();
        let works: Vec<Work> = body.iter().map(|stmt| work(kernel, stmt)).collect();
        let for_a_token = |flops: usize| (flops * kernel.parts) as f64 / kernel.chunk as f64;
        let on_ordinary_units = |ordinary: bool| {
            let products = works.iter().filter_map(|work| work.product);
            let flops = products.filter(|p| (p.0 == Unit::Scalar) == ordinary).map(|p| p.1);
            (flops.clone().count(), for_a_token(flops.sum()))
        };
        let [tensor, scalar] = [false, true].map(on_ordinary_units);
        let other_flops = for_a_token(works.iter().map(|work| work.other).sum());
        let bytes = bytes_per_token(kernel);
        let rates = target.rates;
        let processors = target.processors as f64;
        let ordinary = (scalar.1 + other_flops) / rates.scalar;
        let computing = (tensor.1 / rates.tensor).max(ordinary) / processors;
        Figures {
            entry: kernel.name.clone(),
            schedule: kernel.schedule.name(),
            chunk: kernel.chunk,
            parts: kernel.parts,
            threads: kernel.threads(),
            shared_tiles: shared,
            register_tiles: kernel.tiles.len() - shared,
            shared_bytes: kernel.shared_bytes,
            statements: body.len(),
            products: [tensor.0, scalar.0],
            product_flops: [tensor.1, scalar.1],
            other_flops,
            bytes,
            floor: computing.max(bytes / rates.memory),
            assembled: None,
        }
    }
}

/// Bytes of token params; states and the model's params do not grow with the sequence. What a preparing
/// kernel makes once a chunk is one token's.
fn bytes_per_token(kernel: &Kernel) -> f64 {
    let body = || kernel.roles.iter().flat_map(|role| &role.body);
    let once_a_chunk = |id: usize| {
        body().any(|stmt| match stmt {
            Stmt::Load { dst: tile, param, .. } | Stmt::Store { src: tile, param, .. } => {
                param.0 == id && kernel.tile(*tile).rows == kernel.params[id].rows
            }
            _ => false,
        })
    };
    let params = kernel.params.iter().enumerate();
    let of_tokens = |kind| matches!(kind, ParamKind::TokenIn | ParamKind::TokenOut);
    let per_token = params.filter(|(_, param)| of_tokens(param.kind));
    let bytes = |(id, param): (usize, &Param)| {
        let bytes = (param.rows * param.cols * param.dtype.bytes()) as f64;
        if once_a_chunk(id) { bytes / kernel.chunk as f64 } else { bytes }
    };
    per_token.map(bytes).sum()
}

/// A number of things, in words.
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} an iteration, {} threads, values in {}",
            self.entry,
            counted(self.chunk, "token"),
            self.threads,
            counted(self.parts, "part")
        )?;
        writeln!(
            f,
            "  {} tiles in registers, {} in shared memory ({} bytes), {} statements",
            self.register_tiles, self.shared_tiles, self.shared_bytes, self.statements
        )?;
        writeln!(
            f,
            "  {} products on tensor cores ({:.0} flops a token), {} elsewhere ({:.0}), other work {:.0}",
            self.products[0],
            self.product_flops[0],
            self.products[1],
            self.product_flops[1],
            self.other_flops
        )?;
        write!(
            f,
            "  {:.0} bytes and at least {:.3} ns for a token of a head",
            self.bytes, self.floor
        )?;
        match self.assembled {
            Some([registers, spilled]) => {
                write!(f, "\n  {registers} registers a thread, {spilled} bytes spilled")
            }
            None => Ok(()),
        }
    }
}
