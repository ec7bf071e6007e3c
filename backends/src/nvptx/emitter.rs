//! The state of emission: the thread's coordinates, the parameters, the tiles in registers.

use super::builder::Builder;
use super::index::Index;
use super::types::{Compare, Val};
use sluice_ir::kernel::{Kernel, Role, TileId};
use sluice_ir::target::Target;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

/// What the emitter of a role knows.
pub(super) struct Emitter<'c, 'k> {
    pub(super) b: Builder<'c>,
    pub(super) kernel: &'k Kernel,
    pub(super) target: &'k Target,
    /// Start of dynamic shared memory.
    pub(super) shared: Val<'c>,
    /// Which part of the value axis this block has (i32).
    pub(super) part: Val<'c>,
    /// Parameters in the kernel's order.
    pub(super) arguments: Vec<Argument<'c>>,
    /// Tokens of this sequence (i32).
    pub(super) tokens: Val<'c>,
    thread: Cell<Thread<'c>>,
    now: Cell<Now<'c>>,
    registers: RefCell<BTreeMap<TileId, Vec<Val<'c>>>>,
    /// Column tiles with products by warpgroups that are not waited for.
    running: RefCell<VecDeque<TileId>>,
    /// Sums of products in shared memory that have begun, by destination.
    pub(super) begun: RefCell<VecDeque<(TileId, Vec<Val<'c>>)>>,
    /// The warp that takes the next piece of work of which there are few.
    turn: Cell<usize>,
    /// Of the two places for sums that warps join: the next one, and which may still be read.
    slots: Cell<(usize, [bool; 2])>,
}

/// A parameter at run time.
#[derive(Clone, Copy)]
pub(super) struct Argument<'c> {
    /// As passed; may be null for states.
    pub(super) pointer: Val<'c>,
    /// First element of this sequence and head.
    pub(super) base: Val<'c>,
    /// Elements from one token to the next (i64), for token params.
    pub(super) token_stride: Option<Val<'c>>,
}

/// Coordinates of a thread within its role.
#[derive(Clone, Copy)]
pub(super) struct Thread<'c> {
    /// `0..32 * warps`.
    pub(super) index: Val<'c>,
    /// `0..32`.
    pub(super) lane: Val<'c>,
    /// `0..warps`, the same register in all lanes.
    pub(super) warp: Val<'c>,
    /// Warps of the role.
    pub(super) warps: usize,
    /// Number of the role.
    pub(super) role: usize,
}

/// The chunk in work.
#[derive(Clone, Copy)]
pub(super) struct Now<'c> {
    /// Its number (i32).
    pub(super) chunk: Val<'c>,
    /// Its tokens that exist (i32).
    pub(super) live: Val<'c>,
    /// Whether it is known that all of its tokens exist.
    pub(super) whole: bool,
}

/// What the prologue of the entry point computed.
pub(super) struct Prologue<'c> {
    pub(super) shared: Val<'c>,
    pub(super) part: Val<'c>,
    pub(super) arguments: Vec<Argument<'c>>,
    pub(super) tokens: Val<'c>,
    pub(super) thread: Thread<'c>,
}

impl<'c, 'k> Emitter<'c, 'k> {
    /// An emitter after the prologue, before the first chunk.
    pub(super) fn new(
        b: Builder<'c>,
        kernel: &'k Kernel,
        target: &'k Target,
        prologue: Prologue<'c>,
    ) -> Self {
        let zero = b.i32(0);
        Self {
            b,
            kernel,
            target,
            shared: prologue.shared,
            part: prologue.part,
            arguments: prologue.arguments,
            tokens: prologue.tokens,
            thread: Cell::new(prologue.thread),
            now: Cell::new(Now { chunk: zero, live: zero, whole: false }),
            registers: RefCell::default(),
            running: RefCell::default(),
            begun: RefCell::default(),
            turn: Cell::new(0),
            slots: Cell::new((0, [true; 2])),
        }
    }

    /// The thread.
    pub(super) fn thread(&self) -> Thread<'c> {
        self.thread.get()
    }

    /// Takes up the work of a role, whose warps start at `first` in the block.
    pub(super) fn enter(&self, number: usize, role: &Role, first: usize, whole: Thread<'c>) {
        let b = &self.b;
        self.thread.set(Thread {
            index: b.add(whole.index, b.i32(-32 * first as i64)),
            lane: whole.lane,
            warp: b.add(whole.warp, b.i32(-(first as i64))),
            warps: role.warps,
            role: number,
        });
        self.hold_all(BTreeMap::new());
    }

    /// Hides that a thread's numbers are what they were, so that addresses made of them are not kept in
    /// `registers` from one iteration to the next.
    pub(super) fn renew_thread(&self, registers: usize) {
        /// Registers with which a role can keep addresses that depend on the thread, not the lane.
        const MANY: usize = 128;
        let (b, thread) = (&self.b, self.thread());
        let lane = b.instruction("", "=r,0", &[thread.lane], b.types.i32);
        let index = match registers {
            0..MANY => b.add(b.mul(thread.warp, b.i32(32)), lane),
            _ => thread.index,
        };
        self.set_thread(Thread { index, lane, ..thread });
    }

    /// Takes a thread's numbers for its own.
    pub(super) fn set_thread(&self, thread: Thread<'c>) {
        self.thread.set(thread);
    }

    /// The registers of all column tiles written so far.
    pub(super) fn all_held(&self) -> BTreeMap<TileId, Vec<Val<'c>>> {
        self.registers.borrow().clone()
    }

    /// Replaces the registers of all column tiles.
    pub(super) fn hold_all(&self, registers: BTreeMap<TileId, Vec<Val<'c>>>) {
        self.registers.replace(registers);
    }

    /// Gives the role its own budget of registers: at most what the block was started with is
    /// given back, more is waited for.
    pub(super) fn set_registers(&self, registers: usize) {
        let even = self.target.register_file / self.kernel.threads();
        let action = if registers > even { "increase" } else { "decrease" };
        self.b.effect(
            "nvvm.setmaxregister",
            &[],
            &[
                ("regCount", self.b.attribute(&format!("{registers} : i32"))),
                ("action", self.b.attribute(&format!("#nvvm<action {action}>"))),
            ],
        );
    }

    /// The chunk in work.
    pub(super) fn now(&self) -> Now<'c> {
        self.now.get()
    }

    /// Makes `chunk` the chunk in work; `some` tells that it has a token.
    pub(super) fn begin_chunk(&self, chunk: Val<'c>, some: bool) {
        let whole = some && self.kernel.chunk == 1;
        let live = if whole { self.b.i32(1) } else { self.live_in(chunk) };
        self.now.set(Now { chunk, live, whole });
    }

    /// Tokens of a chunk that exist: `clamp(tokens - chunk * size, 0, size)`.
    pub(super) fn live_in(&self, chunk: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let size = b.i32(self.kernel.chunk as i64);
        let left = b.like("llvm.sub", &[self.tokens, b.mul(chunk, size)]);
        let left = b.like("llvm.intr.smin", &[left, size]);
        b.like("llvm.intr.smax", &[left, b.i32(0)])
    }

    /// Threads of the role.
    pub(super) fn threads(&self) -> usize {
        32 * self.thread().warps
    }

    /// The lane's place in a group of four, times two: its first row in an accumulator.
    pub(super) fn pair(&self) -> Index<'c> {
        let b = &self.b;
        let lane = b.and(self.thread().lane, b.i32(3));
        b.index_mul(Index::below(lane, 4), 2)
    }

    /// The lane's group of four: its column in an accumulator.
    pub(super) fn quad(&self) -> Index<'c> {
        let b = &self.b;
        Index::below(b.like("llvm.lshr", &[self.thread().lane, b.i32(2)]), 8)
    }

    /// The lane.
    pub(super) fn lane(&self) -> Index<'c> {
        Index::below(self.thread().lane, 32)
    }

    /// The warp.
    pub(super) fn warp(&self) -> Index<'c> {
        let thread = self.thread();
        if thread.warps == 1 { Index::constant(0) } else { Index::below(thread.warp, thread.warps) }
    }

    /// Notes that a product into a column tile has been started.
    pub(super) fn start_running(&self, tile: TileId) {
        self.running.borrow_mut().push_back(tile);
    }

    /// Whether a product into a column tile may be unfinished.
    pub(super) fn runs(&self, tile: TileId) -> bool {
        self.running.borrow().contains(&tile)
    }

    /// The tiles of all products but the latest `pending`, which are complete from now on.
    pub(super) fn stop_running(&self, pending: usize) -> Vec<TileId> {
        let mut running = self.running.borrow_mut();
        let mut done: Vec<TileId> = Vec::new();
        while running.len() > pending {
            let tile = running.pop_front().expect("counted above");
            if !done.contains(&tile) {
                done.push(tile);
            }
        }
        done
    }

    /// The registers of a column tile, if it has been written.
    pub(super) fn held(&self, tile: TileId) -> Option<Vec<Val<'c>>> {
        self.registers.borrow().get(&tile).cloned()
    }

    /// Replaces the registers of a column tile.
    pub(super) fn hold(&self, tile: TileId, values: Vec<Val<'c>>) {
        self.registers.borrow_mut().insert(tile, values);
    }

    /// The next place for sums that warps join, after a barrier if it may still be read.
    pub(super) fn take_slot(&self) -> usize {
        let (next, read) = self.slots.get();
        if read[next] {
            self.role_barrier();
        }
        next
    }

    /// Notes that the warps have met and now read a place for sums.
    pub(super) fn leave_slot(&self, slot: usize) {
        let mut read = [false; 2];
        read[slot] = true;
        self.slots.set((1 - slot, read));
    }

    /// Notes what is known of the places for sums: that warps have met, or nothing.
    pub(super) fn settle_slots(&self, met: bool) {
        let (next, _) = self.slots.get();
        self.slots.set((next, [!met; 2]));
    }

    /// Deals `count` pieces of work to the threads of the role.
    pub(super) fn spread(&self, count: usize, body: impl Fn(Index<'c>)) {
        let threads = self.threads();
        let me = Index::below(self.thread().index, threads);
        self.deal(count, threads, me, body);
    }

    /// Deals the pieces of rows to the threads of the role, each of which keeps to one column of pieces if rows
    /// are dealt out evenly: what it reads once for all rows is then seen not to change. The loop over its rows
    /// has `unrolled` of them written out.
    pub(super) fn spread_rows(
        &self,
        rows: usize,
        pieces: usize,
        unrolled: usize,
        body: impl Fn(Index<'c>, Index<'c>),
    ) {
        let b = &self.b;
        let threads = self.threads();
        let at_once = threads / pieces;
        if !threads.is_multiple_of(pieces) || !rows.is_multiple_of(at_once) {
            return self.spread(rows * pieces, |i| {
                let (row, piece) = b.index_split(i, pieces);
                body(row, piece);
            });
        }
        let me = Index::below(self.thread().index, threads);
        let (first, piece) = b.index_split(me, pieces);
        self.fold(rows / at_once, unrolled, vec![], |round, _| {
            body(b.index_add(b.index_mul(round, at_once), first), piece);
            vec![]
        });
    }

    /// Deals `count` pieces of work to the warps of the role; warps that few pieces leave idle come first
    /// the next time.
    pub(super) fn spread_warps(&self, count: usize, body: impl Fn(Index<'c>)) {
        let b = &self.b;
        let warps = self.thread().warps;
        let first = self.turn.get() % warps;
        self.turn.set(first + count);
        let me = if first == 0 || count >= warps {
            self.warp()
        } else {
            let turned = b.add(self.thread().warp, b.i32((warps - first) as i64));
            Index::below(b.like("llvm.urem", &[turned, b.i32(warps as i64)]), warps)
        };
        self.deal(count, warps, me, body);
    }

    /// Worker `me` of `workers` takes every `workers`-th of `count` pieces of work.
    pub(super) fn deal(
        &self,
        count: usize,
        workers: usize,
        me: Index<'c>,
        body: impl Fn(Index<'c>),
    ) {
        /// Rounds that are written out instead of a loop.
        const UNROLLED: usize = 4;
        let b = &self.b;
        let rounds = count.div_ceil(workers);
        if rounds <= UNROLLED {
            for round in 0..rounds {
                let piece = me.plus(round * workers);
                b.when_some(b.index_below(piece, count), || body(piece));
            }
            return;
        }
        let (from, to, step) = (b.index(me), b.i32(count as i64), b.i32(workers as i64));
        b.repeat(from, to, step, &[], |piece, _| {
            body(Index::below(piece, count));
            vec![]
        });
    }

    /// A loop over `0..count`, written out if it is short; `body` maps the carried values.
    pub(super) fn fold(
        &self,
        count: usize,
        unrolled: usize,
        carried: Vec<Val<'c>>,
        body: impl Fn(Index<'c>, &[Val<'c>]) -> Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        if count <= unrolled {
            return (0..count).fold(carried, |state, i| body(Index::constant(i), &state));
        }
        let b = &self.b;
        let run = (1..=unrolled).rev().find(|n| count.is_multiple_of(*n)).expect("1 divides");
        let (from, to, step) = (b.i32(0), b.i32(count as i64), b.i32(run as i64));
        b.repeat(from, to, step, &carried, |i, state| {
            let first = Index::below(i, count - run + 1);
            (0..run).fold(state.to_vec(), |state, k| body(first.plus(k), &state))
        })
    }

    /// Whether a tile row belongs to a token that exists, with `rows` rows a token.
    pub(super) fn is_live(&self, row: Index<'c>, rows: usize, live: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let (token, _) = b.index_split(row, rows);
        b.compare(Compare::Lt, b.index(token), live)
    }
}
