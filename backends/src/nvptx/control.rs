//! A role's loop over the chunks, its statements, barriers and exchanges within a warp.

use super::builder::Builder;
use super::emitter::Emitter;
use super::load::Load;
use super::score::Scores;
use super::store::Store;
use super::types::{Compare, Val};
use sluice_ir::kernel::{Role, Schedule, Stmt, Sync, TileId, Unit};

/// Instances and parity of barriers in shared memory live behind the scratch memory.
const MBARRIER_BYTES: usize = 8;
/// Lanes of a warp: each arrives for itself.
const LANES: usize = 32;

/// Scores made together: their accumulators take registers.
const TOGETHER: usize = 2;

/// The operands of a `Score` statement.
fn as_scores(statement: &Stmt) -> Option<(Scores, Unit)> {
    let Stmt::Score { dst, p, a, to, from, mask, unit, operand } = *statement else { return None };
    Some((Scores { dst, p, a, to, from, mask, operand }, unit))
}

/// Whether two statements are scores whose rows are scaled by the same decays.
fn same_decays(one: &Stmt, next: &Stmt) -> bool {
    let decays = |s: &Stmt| as_scores(s).map(|(s, unit)| (s.to, s.from, s.operand, unit));
    decays(one).is_some() && decays(one) == decays(next)
}

impl<'c> Emitter<'c, '_> {
    /// Everything that a role does.
    pub(super) fn role(&self, role: &Role) {
        let b = &self.b;
        let zero = b.i32(0);
        let size = b.i32(self.kernel.chunk as i64);
        let last = b.i32(self.kernel.chunk as i64 - 1);
        let chunks = b.like("llvm.udiv", &[b.add(self.tokens, last), size]);
        self.begin_chunk(zero, false);
        self.settle_slots(false);
        self.statements(&role.setup);
        let carried: Vec<(TileId, Vec<Val<'c>>)> =
            self.kernel.carried.iter().map(|t| (*t, self.registers(*t))).collect();
        let start: Vec<Val<'c>> = carried.iter().flat_map(|(_, r)| r.iter().copied()).collect();
        let take = |values: &[Val<'c>]| {
            let mut rest = values;
            for (tile, registers) in &carried {
                let (own, others) = rest.split_at(registers.len());
                self.hold(*tile, own.to_vec());
                rest = others;
            }
        };
        let (before, thread) = (self.all_held(), self.thread());
        let (first, step) = self.own_chunks();
        let end = b.repeat(first, chunks, step, &start, |chunk, values| {
            take(values);
            if let Some(registers) = role.registers {
                self.renew_thread(registers);
            }
            self.begin_chunk(chunk, true);
            // The iteration before may have left sums that some warp has not read.
            self.settle_slots(false);
            self.statements(&role.body);
            self.kernel.carried.iter().flat_map(|t| self.registers(*t)).collect()
        });
        // What the body computed and did not carry is gone.
        self.hold_all(before);
        self.set_thread(thread);
        take(&end);
        self.settle_slots(false);
        let before_end = b.add(chunks, b.i32(-1));
        self.begin_chunk(b.like("llvm.intr.smax", &[before_end, zero]), false);
        self.statements(&role.finish);
    }

    /// The first chunk of this block of the grid, and how far it is from one to the next.
    fn own_chunks(&self) -> (Val<'c>, Val<'c>) {
        let b = &self.b;
        if self.kernel.schedule != Schedule::Prepare {
            return (b.i32(0), b.i32(1));
        }
        let special =
            |name: &str| b.value(&format!("nvvm.read.ptx.sreg.{name}"), &[], b.types.i32, &[]);
        (special("ctaid.z"), special("nctaid.z"))
    }

    fn statements(&self, statements: &[Stmt]) {
        for alike in statements.chunk_by(same_decays) {
            if let [one] = alike {
                self.statement(one);
                continue;
            }
            for several in alike.chunks(TOGETHER) {
                let (scores, units): (Vec<_>, Vec<_>) =
                    several.iter().filter_map(as_scores).unzip();
                self.scores(&scores, units[0]);
            }
        }
    }

    fn statement(&self, statement: &Stmt) {
        match statement {
            Stmt::Load { dst, param, ahead, col } => {
                self.load(Load { dst: *dst, param: *param, ahead: *ahead, col: *col });
            }
            Stmt::Store { param, src, col } => {
                self.store(Store { param: *param, src: *src, col: *col });
            }
            Stmt::Put { param, shape, body } => self.put_out(*param, *shape, body),
            Stmt::Commit => self.b.effect("nvvm.cp.async.commit.group", &[], &[]),
            Stmt::WaitLoads { pending } => {
                let n = self.b.attribute(&format!("{pending} : i32"));
                self.b.effect("nvvm.cp.async.wait.group", &[], &[("n", n)]);
            }
            Stmt::Sync(sync) => self.sync(*sync),
            Stmt::Fill { dst, value } => self.fill(*dst, *value),
            Stmt::Map { dst, body } => self.map(*dst, body),
            Stmt::Begin(m) => self.begin_product(m),
            Stmt::Mma(m) => match m.unit {
                Unit::Tensor => self.tensor_product(m),
                Unit::Warpgroup => self.warpgroup_product(m),
                Unit::Scalar => self.scalar_product(m),
            },
            Stmt::Reduce { op, dst, src, over } => self.reduce(*op, *dst, *src, *over),
            Stmt::Run { dst, body, mask } => self.running_sum(*dst, body, *mask),
            Stmt::Score { .. } => {
                let (scores, unit) = as_scores(statement).expect("they are scores");
                self.scores(&[scores], unit);
            }
            Stmt::Mix { dst, w, y, to, from, mask } => self.mix(*dst, [*w, *y, *to, *from], *mask),
            Stmt::Inverse { dst, src, upper, diagonal } => {
                self.inverse([*dst, *src], *upper, *diagonal);
            }
            Stmt::Copy { dst, src, map } => self.copy(*dst, *src, *map),
            Stmt::Nest(nest) => self.nest(nest),
            Stmt::Walk(walk) => self.walk(walk),
            Stmt::Table { dst, values } => self.table(*dst, values),
        }
    }

    fn sync(&self, sync: Sync) {
        match sync {
            Sync::Cta => {
                self.b.effect("nvvm.barrier0", &[], &[]);
                self.settle_slots(true);
            }
            Sync::Role => {
                self.role_barrier();
                self.settle_slots(true);
            }
            Sync::Arrive(barrier) => self.arrive(barrier),
            Sync::Wait(barrier) => self.wait(barrier, self.phase(barrier, 0)),
            Sync::Free { barrier, ahead } => {
                // A barrier that nobody has used counts as complete in the phase before the first.
                let (instance, round) = self.phase(barrier, ahead);
                self.wait(barrier, (instance, self.b.add(round, self.b.i32(1))));
            }
            Sync::Products { pending } => self.wait_products(pending),
            Sync::ProxyFence => self.b.effect(
                "nvvm.fence.proxy",
                &[],
                &[
                    ("kind", self.b.attribute("#nvvm.proxy_kind<async.shared>")),
                    ("space", self.b.attribute("#nvvm.shared_space<cta>")),
                ],
            ),
        }
    }

    /// Waits for the threads of the role.
    pub(super) fn role_barrier(&self) {
        let b = &self.b;
        if self.kernel.roles.len() == 1 {
            return b.effect("nvvm.barrier0", &[], &[]);
        }
        // Barrier 0 is that of the whole block.
        let number = b.i32(self.thread().role as i64 + 1);
        let segments = b.attribute("array<i32: 1, 1, 0>");
        let threads = b.i32(self.threads() as i64);
        b.effect("nvvm.barrier", &[number, threads], &[("operandSegmentSizes", segments)]);
    }

    /// Pointer to the instance of a barrier that a chunk uses.
    fn mbarrier(&self, barrier: usize, instance: Val<'c>) -> Val<'c> {
        let b = &self.b;
        let before: usize = self.kernel.mbarriers[..barrier].iter().map(|m| m.stages).sum();
        let first = super::mbarrier_offset(self.kernel) + MBARRIER_BYTES * before;
        let bytes = b.mul(instance, b.i32(MBARRIER_BYTES as i64));
        b.advance(b.advance_by(self.shared, first as i64), bytes)
    }

    /// Number of the instance of a barrier for a chunk ahead of this one, and how often it was used
    /// before.
    fn phase(&self, barrier: usize, ahead: usize) -> (Val<'c>, Val<'c>) {
        let b = &self.b;
        let stages = b.i32(self.kernel.mbarriers[barrier].stages as i64);
        let now = self.now().chunk;
        let chunk = if ahead == 0 { now } else { b.add(now, b.i32(ahead as i64)) };
        (b.like("llvm.urem", &[chunk, stages]), b.like("llvm.udiv", &[chunk, stages]))
    }

    /// Makes the barriers ready; one thread of the block does it.
    pub(super) fn init_mbarriers(&self) {
        let b = &self.b;
        if self.kernel.mbarriers.is_empty() {
            return;
        }
        let first = b.compare(Compare::Eq, self.thread().index, b.i32(0));
        b.when(first, || {
            for (i, barrier) in self.kernel.mbarriers.iter().enumerate() {
                for instance in 0..barrier.stages {
                    let at = self.mbarrier(i, b.i32(instance as i64));
                    let threads = b.i32((LANES * barrier.count) as i64);
                    b.effect("nvvm.mbarrier.init", &[at, threads], &[]);
                }
            }
        });
        b.effect("nvvm.barrier0", &[], &[]);
    }

    fn arrive(&self, barrier: usize) {
        let b = &self.b;
        let (instance, _) = self.phase(barrier, 0);
        b.value("nvvm.mbarrier.arrive", &[self.mbarrier(barrier, instance)], b.types.i64, &[]);
    }

    /// Waits until an instance has completed the phase of a round.
    fn wait(&self, barrier: usize, (instance, round): (Val<'c>, Val<'c>)) {
        let b = &self.b;
        let at = b.convert("llvm.ptrtoint", self.mbarrier(barrier, instance), b.types.i32);
        let parity = b.and(round, b.i32(1));
        // A loop around one instruction; before sm_90 there is the test, not the suspending wait.
        let test = if self.target.warpgroups { "try_wait" } else { "test_wait" };
        let text = format!(
            "{{.reg .pred p; waiting: mbarrier.{test}.parity.shared.b64 p, [$0], $1; \
             @!p bra waiting;}}"
        );
        b.instruction_with(&text, "r,r,~{memory}", &[at, parity], &[]);
    }

    /// The value of another lane.
    pub(super) fn value_of_lane(&self, value: Val<'c>, lane: Val<'c>) -> Val<'c> {
        self.b.shuffle("idx", value, lane, 31)
    }

    /// The value of the lane whose number differs in the bits of `bits`.
    pub(super) fn value_of_partner(&self, value: Val<'c>, bits: usize) -> Val<'c> {
        self.b.shuffle("bfly", value, self.b.i32(bits as i64), 31)
    }

    /// The value of the lane `by` below; the lowest lanes keep their own.
    pub(super) fn value_of_lower(&self, value: Val<'c>, by: usize) -> Val<'c> {
        self.b.shuffle("up", value, self.b.i32(by as i64), 0)
    }
}

impl<'c> Builder<'c> {
    /// An exchange of values among the lanes of a warp.
    pub(super) fn shuffle(&self, kind: &str, value: Val<'c>, lane: Val<'c>, clamp: i64) -> Val<'c> {
        let kind = self.attribute(&format!("#nvvm<shfl_kind {kind}>"));
        let operands = [self.i32(-1), value, lane, self.i32(clamp)];
        let of = melior::ir::ValueLike::r#type(&value);
        self.value("nvvm.shfl.sync", &operands, of, &[("kind", kind)])
    }
}
