//! A CSV set as one ZIP archive (APPNOTE 6.3: stored, not compressed; whoever sends it may compress on the way). Every entry bears the same
//! date, so that the same data give the same bytes.

use std::io;

use flate2::Crc;

use super::csv_files::CsvFilesError;
use super::csv_set::{CsvError, CsvManifest, CsvTable, ExceptionPages, MANIFEST, write_table};
use super::document::Report;

/// The first day that the format knows: 1 January 1980.
const DATE: u16 = 0x0021;
/// Names are UTF-8.
const FLAGS: u16 = 0x0800;
const VERSION: u16 = 20;

/// The set and its manifest.
///
/// # Errors
/// The exceptions cannot be read, or a file is larger than an archive of this kind takes (4 GiB).
pub fn csv_archive(report: &Report, exceptions: &mut dyn ExceptionPages) -> Result<Vec<u8>, CsvFilesError> {
    let mut archive = Archive::default();
    let mut files = Vec::new();
    for table in CsvTable::ALL {
        let mut bytes = Vec::new();
        files.push(write_table(table, &report.data, exceptions, &mut bytes)?);
        archive.add(table.file_name(), &bytes)?;
    }
    archive.add(MANIFEST, CsvManifest::new(report, files).text()?.as_bytes())?;
    Ok(archive.finish()?)
}

/// An archive that grows.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    /// The central directory, which comes last.
    directory: Vec<u8>,
    entries: u16,
}

fn too_large(file: &'static str) -> CsvError {
    let source = io::Error::new(io::ErrorKind::FileTooLarge, "a ZIP archive of this kind takes 4 GiB");
    CsvError::Write { file, source }
}

impl Archive {
    fn add(&mut self, name: &'static str, content: &[u8]) -> Result<(), CsvError> {
        let mut crc = Crc::new();
        crc.update(content);
        let size = u32::try_from(content.len()).map_err(|_| too_large(name))?;
        let offset = u32::try_from(self.bytes.len()).map_err(|_| too_large(name))?;
        let name_length = u16::try_from(name.len()).map_err(|_| too_large(name))?;
        let mut shared = Vec::new();
        for half in [VERSION, FLAGS, 0, 0, DATE] {
            shared.extend(half.to_le_bytes());
        }
        for whole in [crc.sum(), size, size] {
            shared.extend(whole.to_le_bytes());
        }
        shared.extend(name_length.to_le_bytes());
        shared.extend(0u16.to_le_bytes());

        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&shared);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(content);

        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(VERSION.to_le_bytes());
        self.directory.extend(&shared);
        // No comment, first disk, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, CsvError> {
        let offset = u32::try_from(self.bytes.len()).map_err(|_| too_large(MANIFEST))?;
        let size = u32::try_from(self.directory.len()).map_err(|_| too_large(MANIFEST))?;
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(size.to_le_bytes());
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.extend([0; 2]);
        Ok(self.bytes)
    }
}
