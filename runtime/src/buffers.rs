//! Arrays in device memory as the arguments of entry points.

use crate::device::{Device, failed};
use crate::program::{Launch, Loaded};
use cudarc::driver::{CudaSlice, DriverError, LaunchConfig, PushKernelArg};
use sluice_ir::artifact::ParamInfo;
use sluice_ir::binding::{self, Place};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Arrays, Problem};
use std::collections::BTreeMap;

/// Everything that one run of a program reads and writes.
pub(crate) struct Buffers {
    /// One for each place; none for an initial state that is not given.
    arrays: BTreeMap<Place, CudaSlice<u8>>,
    /// Where each made array's elements and extents are described.
    made: BTreeMap<Place, (ParamInfo, Problem)>,
    /// What each stage runs over, its token offsets, and whether every sequence has one token.
    problems: Vec<(Problem, CudaSlice<i64>, bool)>,
}

impl Buffers {
    /// Uploads the inputs of a program, rounded to the dtypes of their params; what its stages make
    /// becomes NaN. `stages` holds the variant chosen for each stage.
    pub(crate) fn upload(
        device: &Device,
        stages: &[Launch<'_>],
        problem: &Problem,
        arrays: &Arrays,
    ) -> Result<Self, Diagnostic> {
        let mut buffers =
            Self { arrays: BTreeMap::new(), made: BTreeMap::new(), problems: Vec::new() };
        for stage in stages {
            let seen = stage.runs.problem(problem);
            binding::check_launch(&seen, stage.loaded.variant.order)?;
            for (param, place) in stage.loaded.launches().flat_map(|l| &l.params) {
                check_alignment(param, &seen)?;
                if buffers.arrays.contains_key(place) || *place == Place::Absent {
                    continue;
                }
                let bytes = match param.is_output() {
                    true => Some(param.poison(&seen)),
                    false => param.input(&seen, arrays)?,
                };
                if let Some(bytes) = bytes {
                    buffers.arrays.insert(place.clone(), upload_bytes(device, bytes)?);
                }
                if param.is_output() {
                    buffers.made.insert(place.clone(), (param.clone(), seen.clone()));
                }
            }
            let single = seen.cu_seqlens.iter().enumerate().all(|(i, start)| i == *start);
            let offsets: Vec<i64> = seen.cu_seqlens.iter().map(|n| *n as i64).collect();
            let offsets =
                device.stream.clone_htod(&offsets).map_err(|e| failed("upload offsets", e))?;
            buffers.problems.push((seen, offsets, single));
        }
        // Copies are queued: the host's arrays must live until they are done.
        device.stream.synchronize().map_err(|e| failed("upload the inputs", e))?;
        Ok(buffers)
    }

    /// Bytes of all arrays.
    pub(crate) fn bytes(&self) -> usize {
        self.arrays.values().map(CudaSlice::len).sum()
    }

    /// Bytes of the arrays for which `counts` holds.
    pub(crate) fn bytes_of(&self, counts: impl Fn(&Place) -> bool) -> usize {
        self.arrays.iter().filter(|(place, _)| counts(place)).map(|(_, a)| a.len()).sum()
    }

    /// Makes NaN again of what the stages made.
    pub(crate) fn poison(&mut self, device: &Device) -> Result<(), Diagnostic> {
        for (place, (param, _)) in &self.made {
            let buffer = self.arrays.get_mut(place).expect("what is made has memory");
            let nan = vec![0xffu8; buffer.len()];
            let copied = device.stream.memcpy_htod(&nan, buffer);
            let done = copied.and_then(|()| device.stream.synchronize());
            done.map_err(|e| failed(&format!("reset `{}`", param.name), e))?;
        }
        Ok(())
    }

    /// Queues one launch of each stage, and of what runs before it.
    pub(crate) fn launch(&self, device: &Device, stages: &[Launch<'_>]) -> Result<(), DriverError> {
        stages.iter().zip(&self.problems).try_for_each(|(stage, (problem, offsets, single))| {
            let mut launches = stage.loaded.launches();
            // Kernels that take token by token know where one token a sequence is.
            let offsets = |l: &Loaded| (!(*single && l.variant.chunk == 1)).then_some(offsets);
            launches.try_for_each(|l| self.launch_kernel(device, l, problem, offsets(l)))
        })
    }

    fn launch_kernel(
        &self,
        device: &Device,
        stage: &Loaded,
        problem: &Problem,
        offsets: Option<&CudaSlice<i64>>,
    ) -> Result<(), DriverError> {
        let instances = problem.sequences() * problem.heads;
        if instances == 0 {
            return Ok(());
        }
        let narrow = |n: usize| u32::try_from(n).expect("grid and block fit 32 bits");
        let grid_z = stage.variant.grid_z(problem.longest());
        let null = 0u64;
        let strides: Vec<_> = stage.params.iter().map(|(p, _)| p.strides(problem)).collect();
        let (heads, groups) = (narrow(problem.heads), narrow(problem.groups));
        let mut launch = device.stream.launch_builder(&stage.function);
        for ((_, place), strides) in stage.params.iter().zip(&strides) {
            match self.arrays.get(place) {
                Some(buffer) => launch.arg(buffer),
                None => launch.arg(&null),
            };
            for stride in strides.iter().flatten() {
                launch.arg(stride);
            }
        }
        match offsets {
            Some(offsets) => launch.arg(offsets),
            None => launch.arg(&null),
        };
        launch.arg(&heads).arg(&groups);
        let config = LaunchConfig {
            grid_dim: (narrow(instances), narrow(stage.variant.grid_y), narrow(grid_z)),
            block_dim: (narrow(stage.variant.threads), 1, 1),
            shared_mem_bytes: narrow(stage.variant.shared_bytes),
        };
        // SAFETY: the arguments are those that the manifest lists for the entry point, and every
        // buffer has the extents that strides, offsets and heads describe. Launches of one stream
        // run in order, and nothing else reads or writes the buffers meanwhile.
        unsafe { launch.launch(config) }.map(|_| ())
    }

    /// Waits for the launches, and downloads the bytes of what the stages made where `wanted` says so.
    pub(crate) fn download(
        &self,
        device: &Device,
        wanted: impl Fn(&Place) -> bool,
    ) -> Result<BTreeMap<Place, Vec<u8>>, Diagnostic> {
        device.stream.synchronize().map_err(|e| failed("run the program", e))?;
        let mut downloaded = BTreeMap::new();
        for (place, (param, _)) in self.made.iter().filter(|(place, _)| wanted(place)) {
            let trouble = |e| failed(&format!("download `{}`", param.name), e);
            let bytes = device.stream.clone_dtoh(&self.arrays[place]).map_err(trouble)?;
            downloaded.insert(place.clone(), bytes);
        }
        device.stream.synchronize().map_err(|e| failed("run the program", e))?;
        Ok(downloaded)
    }

    /// The arrays of downloaded bytes by name.
    pub(crate) fn decoded(&self, downloaded: &BTreeMap<Place, Vec<u8>>) -> Arrays {
        let decode = |(place, bytes): (&Place, &Vec<u8>)| {
            let (param, problem) = &self.made[place];
            let array = param.output(problem, &bytes[..param.bytes(problem)]);
            (param.name.clone(), array)
        };
        downloaded.iter().map(decode).collect()
    }
}

/// Empty arrays get a byte, as poison has it: device memory of no size does not exist.
fn upload_bytes(device: &Device, mut bytes: Vec<u8>) -> Result<CudaSlice<u8>, Diagnostic> {
    if bytes.is_empty() {
        bytes.push(0xff);
    }
    device.stream.clone_htod(&bytes).map_err(|e| failed("upload an array", e))
}

/// Device memory is aligned by 256 bytes; the strides of dense arrays must fit as well.
fn check_alignment(param: &ParamInfo, problem: &Problem) -> Result<(), Diagnostic> {
    let align = i64::try_from(param.align).expect("an alignment of a few bytes");
    let size = param.dtype.bytes() as i64;
    let strides = param.strides(problem).into_iter().flatten();
    match strides.map(|s| s * size).find(|bytes| bytes % align != 0) {
        None => Ok(()),
        Some(bytes) => Err(Diagnostic::new(
            Code::BadArray,
            format!("a stride of `{}` is {bytes} bytes, not a multiple of {align}", param.name),
        )
        .with_help("build the program for these dimensions")),
    }
}
