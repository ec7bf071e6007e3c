//! Arrays in and out of files as `.npz`, numpy's archive of named arrays.
//!
//! Elements become doubles on the way in (every integer below 2^53 and every float of 64 bits or
//! fewer is exact). Files are written whole or not at all.

use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder, npz};
use sluice_ir::diagnostic::{Code, Diagnostic};
use sluice_ir::dtype::Dtype;
use sluice_ir::problem::{Array, Arrays};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// All arrays of an archive.
///
/// # Errors
///
/// [`Code::File`] if the file cannot be read as an archive, [`Code::BadArray`] if an array's
/// elements are not numbers.
pub fn read(path: &Path) -> Result<Arrays, Diagnostic> {
    let unreadable = |why: String| {
        Diagnostic::new(Code::File, format!("cannot read `{}`: {why}", path.display()))
            .with_help("expected an archive as written by `numpy.savez`")
    };
    let file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|e| unreadable(e.to_string()))?;
    let mut arrays = Arrays::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| unreadable(e.to_string()))?;
        let file_name = entry.name().map_err(|e| unreadable(e.to_string()))?.into_owned();
        let Some(name) = npz::array_name_from_file_name(&file_name).map(str::to_owned) else {
            continue;
        };
        let npy = NpyFile::new(entry).map_err(|e| unreadable(format!("array `{name}`: {e}")))?;
        let kind = npy.dtype().descr();
        let array = decode(npy).map_err(|e| unreadable(format!("array `{name}`: {e}")))?;
        let array = array.ok_or_else(|| {
            Diagnostic::new(Code::BadArray, format!("array `{name}` has elements of type {kind}"))
                .with_help("floats of 16, 32 or 64 bits, integers and booleans are read")
        })?;
        arrays.insert(name, array);
    }
    Ok(arrays)
}

/// The array in row-major order; nothing if its elements are not numbers.
fn decode<R: Read>(npy: NpyFile<R>) -> io::Result<Option<Array>> {
    let shape: Vec<usize> = npy
        .shape()
        .iter()
        .map(|&n| usize::try_from(n).map_err(io::Error::other))
        .collect::<io::Result<_>>()?;
    let order = npy.order();
    let DType::Plain(kind) = npy.dtype() else { return Ok(None) };
    let data: Vec<f64> = match (kind.type_char(), kind.num_bytes()) {
        (TypeChar::Float, Some(8)) => npy.into_vec::<f64>()?,
        (TypeChar::Float, Some(4)) => widen(npy.into_vec::<f32>()?),
        (TypeChar::Float, Some(2)) => widen(npy.into_vec::<half::f16>()?),
        (TypeChar::Int, Some(8)) => npy.into_vec::<i64>()?.iter().map(|&x| x as f64).collect(),
        (TypeChar::Int, Some(4)) => widen(npy.into_vec::<i32>()?),
        (TypeChar::Int, Some(2)) => widen(npy.into_vec::<i16>()?),
        (TypeChar::Int, Some(1)) => widen(npy.into_vec::<i8>()?),
        (TypeChar::Uint, Some(8)) => npy.into_vec::<u64>()?.iter().map(|&x| x as f64).collect(),
        (TypeChar::Uint, Some(4)) => widen(npy.into_vec::<u32>()?),
        (TypeChar::Uint, Some(2)) => widen(npy.into_vec::<u16>()?),
        (TypeChar::Uint, Some(1)) => widen(npy.into_vec::<u8>()?),
        (TypeChar::Bool, _) => npy.into_vec::<bool>()?.into_iter().map(f64::from).collect(),
        _ => return Ok(None),
    };
    let data = match order {
        Order::C => data,
        Order::Fortran => row_major(&shape, &data),
    };
    Ok(Some(Array { shape, data }))
}

fn widen<T: Into<f64>>(data: Vec<T>) -> Vec<f64> {
    data.into_iter().map(Into::into).collect()
}

/// The elements in row-major order of an array that is stored first extent fastest.
fn row_major(shape: &[usize], data: &[f64]) -> Vec<f64> {
    (0..data.len())
        .map(|mut index| {
            let mut place = data.len();
            let mut source = 0;
            for &extent in shape.iter().rev() {
                place /= extent;
                source += index % extent * place;
                index /= extent;
            }
            data[source]
        })
        .collect()
}

/// Writes an archive in single precision, or double if `dtype` says so.
///
/// # Errors
///
/// [`Code::File`] if the file cannot be written; then nothing is left behind.
pub fn write(path: &Path, arrays: &Arrays, dtype: Dtype) -> Result<(), Diagnostic> {
    try_write(path, arrays, dtype).map_err(|e| {
        // Where the temporary file failed, its error would name it instead of the path.
        let own = e.raw_os_error().is_none();
        let reason = if own { e.kind().to_string() } else { e.to_string() };
        Diagnostic::new(Code::File, format!("cannot write `{}`: {reason}", path.display()))
            .with_help("name a file in a folder that exists and is writable")
    })
}

fn try_write(path: &Path, arrays: &Arrays, dtype: Dtype) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = NamedTempFile::new_in(folder)?;
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(BufWriter::new(scratch));
    for (name, array) in arrays {
        archive.start_file(npz::file_name_from_array_name(name), options)?;
        let shape: Vec<u64> = array.shape.iter().map(|&n| n as u64).collect();
        match dtype {
            Dtype::F64 => encode(&mut archive, &shape, array.data.iter().copied())?,
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => {
                encode(&mut archive, &shape, array.data.iter().map(|&x| x as f32))?;
            }
        }
    }
    let scratch = archive.finish()?.into_inner().map_err(|e| e.into_error())?;
    scratch.persist(path).map_err(|e| e.error)?;
    Ok(())
}

fn encode<T: npyz::AutoSerialize>(
    writer: impl Write,
    shape: &[u64],
    elements: impl Iterator<Item = T>,
) -> io::Result<()> {
    let mut npy =
        npyz::WriteOptions::new().default_dtype().shape(shape).writer(writer).begin_nd()?;
    npy.extend(elements)?;
    npy.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_survive_a_round_trip() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("x.npz");
        let x = Array { shape: vec![2, 3], data: vec![0.1, 2.0, -3.5, 4.0, 1e300, 6.0] };
        let empty = Array::zeros(&[0, 4]);
        let arrays = Arrays::from([("x".to_owned(), x), ("empty".to_owned(), empty)]);
        write(&path, &arrays, Dtype::F64).expect("a fresh folder is writable");
        assert_eq!(read(&path).expect("what was written can be read"), arrays);
    }

    #[test]
    fn first_extent_fastest_becomes_last_extent_fastest() {
        // The matrix [[1, 2, 3], [4, 5, 6]] stored by columns.
        let stored = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        assert_eq!(row_major(&[2, 3], &stored), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("absent").join("x.npz");
        let error = write(&path, &Arrays::new(), Dtype::F32).expect_err("the folder is absent");
        assert_eq!(error.code, Code::File);
        assert!(!error.message.contains(" at path "), "{error}");
        assert!(!path.exists());
    }
}
