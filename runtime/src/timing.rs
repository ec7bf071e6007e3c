//! How long a launch takes, with inputs that are not in the cache.

use crate::Program;
use crate::buffers::Buffers;
use crate::device::failed;
use crate::suite::Timing;
use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaGraph, DriverError};
use sluice_ir::binding::Place;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Arrays, Problem};

/// Launches in one measured graph, at least: enough that the graph's own cost does not count.
const LAUNCHES: usize = 20;
/// Sets of buffers together are this many times the cache.
const CACHES: usize = 3;
/// Most sets of buffers.
const MOST_SETS: usize = 64;

impl Program {
    /// Times a variant (chosen as by [`Program::run`]) on a problem: `samples` replays of a graph of
    /// launches that go round several sets of buffers, so that each finds its inputs in memory and
    /// not in the cache. Events before and after the graph measure it.
    ///
    /// # Errors
    ///
    /// Those of [`Program::run`].
    pub fn time(
        &self,
        problem: &Problem,
        arrays: &Arrays,
        variant: Option<&str>,
        samples: usize,
    ) -> Result<Timing, Diagnostic> {
        let stages = self.choose(problem, variant)?;
        let device = &self.device;
        let new_set = || Buffers::upload(device, &stages, problem, arrays);
        let mut sets = vec![new_set()?];
        let bytes = sets[0].bytes();
        let wanted = (CACHES * device.cache_bytes()?).div_ceil(bytes.max(1)) + 1;
        let affordable = device.free_bytes()? / 2 / bytes.max(1) + 1;
        for _ in 1..wanted.min(affordable).min(MOST_SETS) {
            sets.push(new_set()?);
        }
        let count = sets.len();
        let launches = LAUNCHES.next_multiple_of(count);
        let trouble = |e: DriverError| failed(&format!("time `{}`", self.manifest().program), e);
        let once = |set: usize| sets[set].launch(device, &stages).map_err(trouble);
        once(0)?;
        device.stream.synchronize().map_err(trouble)?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        device.stream.begin_capture(mode).map_err(trouble)?;
        let queued = (0..launches).try_for_each(|i| once(i % count));
        let graph = device.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(trouble)?;
        queued?;
        let graph = graph.ok_or_else(|| nothing_to_time(&self.manifest().program))?;
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples.max(1) + 1 {
            let ms = self.replay(&graph).map_err(trouble)?;
            times.push(f64::from(ms) * 1e3 / launches as f64);
        }
        // The first replay warms up.
        let mut times = times.split_off(1);
        times.sort_by(f64::total_cmp);
        Ok(Timing {
            median_us: times[times.len() / 2],
            min_us: times[0],
            max_us: times[times.len() - 1],
            samples: times.len(),
            launches,
            sets: count,
            bytes: sets[0].bytes_of(|p| matches!(p, Place::Given(_)) || self.is_result(p)),
        })
    }

    /// Milliseconds of one replay.
    fn replay(&self, graph: &CudaGraph) -> Result<f32, DriverError> {
        let device = &self.device;
        let event = || device.context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let (before, after) = (event()?, event()?);
        before.record(&device.stream)?;
        graph.launch()?;
        after.record(&device.stream)?;
        after.synchronize()?;
        before.elapsed_ms(&after)
    }
}

fn nothing_to_time(entry: &str) -> Diagnostic {
    Diagnostic::new(Code::BadBinding, format!("`{entry}` has nothing to launch"))
        .with_help("give at least one sequence and one head")
}
