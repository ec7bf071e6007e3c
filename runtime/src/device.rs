//! The GPU and its driver, opened at run time: nothing of CUDA is needed to build or to start.

use cudarc::driver::sys::{CUdevice_attribute_enum as Attribute, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};
use sluice_ir::diagnostic::{Code, Diagnostic};
use std::sync::Arc;

/// Oldest driver interface used, as `1000 * major + 10 * minor` of CUDA.
const OLDEST_DRIVER: i32 = 12_000;

/// The first GPU, with the stream on which everything is queued.
#[derive(Clone, Debug)]
pub struct Device {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) stream: Arc<CudaStream>,
    name: String,
    capability: (i32, i32),
    driver: i32,
}

impl Device {
    /// Opens the first GPU.
    ///
    /// # Errors
    ///
    /// [`Code::NoDevice`] without a driver or a GPU, [`Code::OldDriver`] if the driver is older
    /// than CUDA 12.0.
    pub fn open() -> Result<Device, Diagnostic> {
        // SAFETY: loading libcuda runs its initialisers, which is what opening a device means.
        if !unsafe { sys::is_culib_present() } {
            return Err(no_device("the library `libcuda` of the NVIDIA driver was not found"));
        }
        let driver = driver_version().map_err(|e| no_device(&reason(e)))?;
        if driver < OLDEST_DRIVER {
            return Err(old_driver(driver));
        }
        let open = || {
            let context = CudaContext::new(0)?;
            // SAFETY: there is one stream, whose order is all the synchronisation there is; events
            // on each buffer would end up in captured graphs.
            unsafe { context.disable_event_tracking() };
            let stream = context.new_stream()?;
            let (name, capability) = (context.name()?, context.compute_capability()?);
            Ok(Device { context, stream, name, capability, driver })
        };
        open().map_err(|e: DriverError| no_device(&reason(e)))
    }

    /// Name of the GPU.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compute capability, such as `(9, 0)`.
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// Name, compute capability and driver in one line.
    pub fn describe(&self) -> String {
        let (major, minor) = self.capability;
        format!("{} (sm_{major}{minor}), driver for CUDA {}", self.name, version(self.driver))
    }

    /// Bytes of the second-level cache.
    pub(crate) fn cache_bytes(&self) -> Result<usize, Diagnostic> {
        let bytes = self.context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
        Ok(bytes.map_err(|e| failed("read the size of the cache", e))?.max(0).cast_unsigned()
            as usize)
    }

    /// How many blocks of a grid that fill a processor run at once.
    pub(crate) fn processors(&self) -> Result<usize, Diagnostic> {
        let count = self.context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        Ok(count.map_err(|e| failed("count the processors", e))?.max(1).cast_unsigned() as usize)
    }

    /// Bytes of free memory.
    pub(crate) fn free_bytes(&self) -> Result<usize, Diagnostic> {
        Ok(self.context.mem_get_info().map_err(|e| failed("ask for free memory", e))?.0)
    }

    /// Whether code for a target such as `sm_90a` may run; `exact` for machine code.
    pub(crate) fn accepts(&self, target: &str, exact: bool) -> bool {
        accepts(self.capability, target, exact)
    }

    /// Why code was not loaded.
    pub(crate) fn load_error(&self, what: &str, error: DriverError) -> Diagnostic {
        match error.0 {
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => old_driver(self.driver),
            _ => failed(&format!("load {what}"), error),
        }
    }
}

/// Whether a GPU runs code for a target. Machine code (`exact`) is made for one major version; newer
/// GPUs translate PTX, unless the target has features of one version only (`a`).
fn accepts(capability: (i32, i32), target: &str, exact: bool) -> bool {
    let digits = target.trim_start_matches("sm_");
    let Ok(number) = digits.trim_end_matches('a').parse::<i32>() else { return false };
    let wanted = (number / 10, number % 10);
    if digits.ends_with('a') {
        capability == wanted
    } else {
        capability >= wanted && (!exact || capability.0 == wanted.0)
    }
}

fn driver_version() -> Result<i32, DriverError> {
    result::init()?;
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(version)
}

fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

fn no_device(why: &str) -> Diagnostic {
    Diagnostic::new(Code::NoDevice, format!("no usable NVIDIA GPU: {why}")).with_help(
        "install the NVIDIA driver, or run without `--device`; `nvidia-smi` shows what is there",
    )
}

fn old_driver(found: i32) -> Diagnostic {
    let message = format!("the NVIDIA driver (CUDA {}) is too old for the code", version(found));
    let oldest = version(OLDEST_DRIVER);
    Diagnostic::new(Code::OldDriver, message).with_help(format!(
        "update the driver (CUDA {oldest} at least), or build a cubin: install ptxas and build again"
    ))
}

fn reason(error: DriverError) -> String {
    let text = error.error_string().map(|s| s.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("{:?}", error.0))
}

/// A call of the driver that failed.
pub(crate) fn failed(what: &str, error: DriverError) -> Diagnostic {
    let message = format!("cannot {what}: {}", reason(error));
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Diagnostic::new(Code::TooLarge, message)
            .with_help("use fewer tokens or heads, or a GPU with more memory"),
        _ => Diagnostic::new(Code::ToolFailed, message).with_help(
            "`sluice doctor` shows the driver; after a fault the process must start again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{accepts, old_driver};
    use sluice_ir::diagnostic::Code;

    #[test]
    fn an_old_driver_is_told_which_would_do() {
        let error = old_driver(11_040);
        assert_eq!(error.code, Code::OldDriver);
        assert!(error.message.contains("CUDA 11.4"), "{error}");
        assert!(error.help.is_some_and(|help| help.contains("CUDA 12")));
    }

    #[test]
    fn code_runs_where_its_target_allows() {
        let h200 = (9, 0);
        for (target, exact, want) in [
            ("sm_90a", true, true),
            ("sm_90a", false, true),
            ("sm_80", true, false),
            ("sm_80", false, true),
            ("sm_100", false, false),
            ("gfx942", false, false),
        ] {
            assert_eq!(accepts(h200, target, exact), want, "{target} {exact}");
        }
        assert!(accepts((8, 6), "sm_80", true) && !accepts((12, 0), "sm_90a", false));
    }
}
