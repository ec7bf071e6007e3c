//! Arrays in device memory as the arguments of an entry point.

use crate::device::{Device, failed};
use cudarc::driver::{CudaFunction, CudaSlice, DriverError, LaunchConfig, PushKernelArg};
use sluice_ir::artifact::{ParamInfo, Variant};
use sluice_ir::binding;
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::problem::{Arrays, Problem};

/// Everything that one launch reads and writes.
pub(crate) struct Buffers {
    /// One for each param; none for an initial state that is not given.
    params: Vec<Option<CudaSlice<u8>>>,
    cu_seqlens: CudaSlice<i64>,
}

impl Buffers {
    /// Uploads the inputs, rounded to the dtypes of their params; outputs become NaN.
    pub(crate) fn upload(
        device: &Device,
        variant: &Variant,
        problem: &Problem,
        arrays: &Arrays,
    ) -> Result<Self, Diagnostic> {
        binding::check_launch(problem, variant.order)?;
        let mut params = Vec::with_capacity(variant.params.len());
        for param in &variant.params {
            check_alignment(param, problem)?;
            let bytes = match param.is_output() {
                true => Some(param.poison(problem)),
                false => param.input(problem, arrays)?,
            };
            params.push(bytes.map(|b| upload_bytes(device, b)).transpose()?);
        }
        let offsets: Vec<i64> = problem.cu_seqlens.iter().map(|n| *n as i64).collect();
        let cu_seqlens =
            device.stream.clone_htod(&offsets).map_err(|e| failed("upload offsets", e))?;
        // Copies are queued: the host's arrays must live until they are done.
        device.stream.synchronize().map_err(|e| failed("upload the inputs", e))?;
        Ok(Self { params, cu_seqlens })
    }

    /// Bytes of all params.
    pub(crate) fn bytes(&self) -> usize {
        self.params.iter().flatten().map(CudaSlice::len).sum()
    }

    /// Makes the outputs NaN again.
    pub(crate) fn poison(&mut self, device: &Device, variant: &Variant) -> Result<(), Diagnostic> {
        for (param, buffer) in variant.params.iter().zip(&mut self.params) {
            if let (true, Some(buffer)) = (param.is_output(), buffer) {
                let nan = vec![0xffu8; buffer.len()];
                let copied = device.stream.memcpy_htod(&nan, buffer);
                let done = copied.and_then(|()| device.stream.synchronize());
                done.map_err(|e| failed(&format!("reset `{}`", param.name), e))?;
            }
        }
        Ok(())
    }

    /// Queues one launch.
    pub(crate) fn launch(
        &mut self,
        device: &Device,
        function: &CudaFunction,
        variant: &Variant,
        problem: &Problem,
    ) -> Result<(), DriverError> {
        let instances = problem.sequences() * problem.heads;
        if instances == 0 {
            return Ok(());
        }
        let narrow = |n: usize| u32::try_from(n).expect("grid and block fit 32 bits");
        let null = 0u64;
        let strides: Vec<_> = variant.params.iter().map(|p| p.strides(problem)).collect();
        let (heads, groups) = (narrow(problem.heads), narrow(problem.groups));
        let mut launch = device.stream.launch_builder(function);
        for (buffer, strides) in self.params.iter_mut().zip(&strides) {
            match buffer {
                Some(buffer) => launch.arg(buffer),
                None => launch.arg(&null),
            };
            for stride in strides.iter().flatten() {
                launch.arg(stride);
            }
        }
        launch.arg(&self.cu_seqlens).arg(&heads).arg(&groups);
        let config = LaunchConfig {
            grid_dim: (narrow(instances), narrow(variant.grid_y), 1),
            block_dim: (narrow(variant.threads), 1, 1),
            shared_mem_bytes: narrow(variant.shared_bytes),
        };
        // SAFETY: the arguments are those that the manifest lists for the entry point, and every
        // buffer has the extents that strides, offsets and heads describe.
        unsafe { launch.launch(config) }.map(|_| ())
    }

    /// Waits for the launch, and downloads the bytes of the outputs; none for inputs.
    pub(crate) fn download(
        &self,
        device: &Device,
        variant: &Variant,
    ) -> Result<Vec<Option<Vec<u8>>>, Diagnostic> {
        let run = |e| failed(&format!("run `{}`", variant.entry), e);
        device.stream.synchronize().map_err(run)?;
        let mut downloaded = Vec::with_capacity(self.params.len());
        for (param, buffer) in variant.params.iter().zip(&self.params) {
            let output = buffer.as_ref().filter(|_| param.is_output());
            let bytes = output.map(|b| device.stream.clone_dtoh(b)).transpose();
            let trouble = |e| failed(&format!("download `{}`", param.name), e);
            downloaded.push(bytes.map_err(trouble)?);
        }
        device.stream.synchronize().map_err(run)?;
        Ok(downloaded)
    }
}

/// Empty arrays get a few bytes: device memory of no size does not exist.
fn upload_bytes(device: &Device, mut bytes: Vec<u8>) -> Result<CudaSlice<u8>, Diagnostic> {
    if bytes.is_empty() {
        bytes.push(0);
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
