//! A CSV set in a directory, and as one ZIP archive; and holding a set against its manifest.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::csv_set::{
    CSV_FORMAT, CsvEntry, CsvError, CsvManifest, CsvTable, ExceptionPages, MANIFEST, hexadecimal, write_table,
};
use super::document::Report;

/// Why a set could not be put into a directory, or not be read from there.
#[derive(Debug, thiserror::Error)]
pub enum CsvFilesError {
    #[error("{} cannot be made", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not the manifest of a set of CSV files of the format `{CSV_FORMAT}`", path.display())]
    NoManifest { path: PathBuf },
    #[error(transparent)]
    Csv(#[from] CsvError),
}

/// Writes the set into a directory, which is made if it is not there. The manifest comes last: a set without one is not whole.
///
/// # Errors
/// Something cannot be written, or the exceptions cannot be read.
pub fn write_csv_directory(
    report: &Report,
    exceptions: &mut dyn ExceptionPages,
    directory: &Path,
) -> Result<CsvManifest, CsvFilesError> {
    let make = |path: &Path| {
        let path = path.to_owned();
        move |source| CsvFilesError::Make { path, source }
    };
    fs::create_dir_all(directory).map_err(make(directory))?;
    let manifest_path = directory.join(MANIFEST);
    if manifest_path.exists() {
        fs::remove_file(&manifest_path).map_err(make(&manifest_path))?;
    }
    let mut files = Vec::new();
    for table in CsvTable::ALL {
        let path = directory.join(table.file_name());
        let mut file = BufWriter::new(File::create(&path).map_err(make(&path))?);
        files.push(write_table(table, &report.data, exceptions, &mut file)?);
        file.flush().map_err(make(&path))?;
    }
    let manifest = CsvManifest::new(report, files);
    fs::write(&manifest_path, manifest.text()?).map_err(make(&manifest_path))?;
    Ok(manifest)
}

/// What a set in a directory says of itself, and what is not as it says.
#[derive(Debug)]
pub struct CheckedSet {
    pub manifest: CsvManifest,
    /// One sentence for each fault; none: the set is as it was written.
    pub faults: Vec<String>,
}

/// Holds the files of a directory against their manifest.
///
/// # Errors
/// There is no manifest, or a file cannot be read.
pub fn check_csv_directory(directory: &Path) -> Result<CheckedSet, CsvFilesError> {
    let path = directory.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(|source| CsvFilesError::Read { path: path.clone(), source })?;
    let manifest: CsvManifest = serde_json::from_str(&text)
        .ok()
        .filter(|manifest: &CsvManifest| manifest.format == CSV_FORMAT)
        .ok_or(CsvFilesError::NoManifest { path })?;
    let mut faults = Vec::new();
    for table in CsvTable::ALL {
        if !manifest.files.iter().any(|entry| entry.name == table.file_name()) {
            faults.push(format!("the manifest does not name {}", table.file_name()));
        }
    }
    for entry in &manifest.files {
        if CsvTable::of_file_name(&entry.name).is_none() {
            faults.push(format!("the manifest names {}, which is no file of a set", entry.name));
            continue;
        }
        let path = directory.join(&entry.name);
        if path.exists() {
            faults.extend(fault_of(entry, &path)?);
        } else {
            faults.push(format!("{} is missing", entry.name));
        }
    }
    Ok(CheckedSet { manifest, faults })
}

fn fault_of(entry: &CsvEntry, path: &Path) -> Result<Option<String>, CsvFilesError> {
    let read = |source| CsvFilesError::Read { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(read)?);
    let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0u64, vec![0u8; 64 * 1024]);
    loop {
        let length = file.read(&mut buffer).map_err(read)?;
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else { break };
        digest.update(piece);
        bytes += u64::try_from(length).unwrap_or(0);
    }
    let found = hexadecimal(&digest.finalize());
    Ok((found != entry.sha256).then(|| {
        format!(
            "{} is not what was written: it has {bytes} bytes and the sha-256 {found}, the manifest says {} bytes and {}",
            entry.name, entry.bytes, entry.sha256
        )
    }))
}
