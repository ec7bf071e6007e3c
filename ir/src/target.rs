//! What a machine offers: a table. Passes ask for properties, never for a name.

/// A machine to compile for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Name on the command line and for ptxas.
    pub name: &'static str,
    /// Lowest PTX version that holds the instructions used, as `major * 10 + minor`.
    pub ptx: u32,
    /// Bytes of shared memory that one block may use.
    pub shared_bytes: usize,
    /// Registers of one thread.
    pub registers: usize,
    /// Registers of one multiprocessor.
    pub register_file: usize,
    /// Multiprocessors of the usual part.
    pub processors: usize,
    /// Whether 8x8 matrices can be stored to shared memory from fragments (`stmatrix`).
    pub stores_matrices: bool,
    /// Whether four warps multiply together (`wgmma`), and roles have budgets of registers of their own.
    pub warpgroups: bool,
    /// Rates for the cost model.
    pub rates: Rates,
}

/// Rates of one machine, per multiprocessor and nanosecond unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// 16-bit matrix flops.
    pub tensor: f64,
    /// Ordinary f32 flops.
    pub scalar: f64,
    /// Exponentials.
    pub special: f64,
    /// Bytes a nanosecond of device memory, all multiprocessors together.
    pub memory: f64,
    /// Nanoseconds of one dependent step of a loop over chunks.
    pub latency: f64,
    /// Largest exponent that `exp` may see.
    pub max_exponent: f64,
}

/// All targets.
pub static TARGETS: &[Target] = &[
    Target {
        name: "sm_80",
        ptx: 78,
        shared_bytes: 166_912,
        registers: 255,
        register_file: 65_536,
        processors: 108,
        stores_matrices: false,
        warpgroups: false,
        rates: Rates {
            tensor: 2_800.0,
            scalar: 180.0,
            special: 22.0,
            memory: 1_550.0,
            latency: 100.0,
            max_exponent: 0.0,
        },
    },
    Target {
        name: "sm_90a",
        ptx: 80,
        shared_bytes: 232_448,
        registers: 255,
        register_file: 65_536,
        processors: 132,
        stores_matrices: true,
        warpgroups: true,
        rates: Rates {
            tensor: 6_000.0,
            scalar: 230.0,
            special: 28.0,
            memory: 4_250.0,
            latency: 100.0,
            max_exponent: 0.0,
        },
    },
];

impl Target {
    /// The target of that name.
    pub fn find(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|t| t.name == name)
    }
}
