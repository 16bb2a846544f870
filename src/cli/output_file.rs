//! Files that commands write: whole, or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

use super::failure::Failure;

/// A file that takes its name when it is finished, so that a failed command leaves no half file behind. Names that end
/// in `.gz` or `.zst` are compressed.
pub(super) struct OutputFile {
    path: PathBuf,
    /// `None` for devices and pipes, which cannot be replaced.
    partial: Option<Partial>,
    encoder: Encoder,
}

/// Where a file is written until it is finished; nothing is left there.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It has its final name, or no one is left to tell.
        drop(fs::remove_file(&self.0));
    }
}

enum Encoder {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl OutputFile {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        // A link stays a link to the file that is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let partial = (!is_special).then(|| Partial(beside(&path, "partial")));
        let encoder = Encoder::create(&path, partial.as_ref().map_or(&*path, |partial| &*partial.0));
        let encoder = encoder.map_err(|error| Failure::write(path.display(), &error))?;
        Ok(Self { path, partial, encoder })
    }

    /// One line.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = self.encoder.writer().write_all(line).and_then(|()| self.encoder.writer().write_all(b"\n"));
        written.map_err(|error| Failure::write(self.path.display(), &error))
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// The rest cannot be written, or the name cannot be given.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let renamed = self.encoder.finish().and_then(|()| match &self.partial {
            Some(partial) => fs::rename(&partial.0, &self.path),
            None => Ok(()),
        });
        renamed.map_err(|error| Failure::write(self.path.display(), &error))
    }
}

impl Encoder {
    fn create(path: &Path, partial: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(partial)?);
        Ok(match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Some("zst") => Self::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            _ => Self::Plain(file),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.flush()
    }
}

/// Refuses to write over what is read, whatever way the two names are written.
///
/// # Errors
/// An output is one of the inputs.
pub(super) fn refuse_inputs<'a>(
    outputs: impl IntoIterator<Item = &'a PathBuf>,
    inputs: &[PathBuf],
) -> Result<(), Failure> {
    let inputs: Vec<PathBuf> = inputs.iter().filter_map(|input| fs::canonicalize(input).ok()).collect();
    for output in outputs {
        let path = fs::canonicalize(output).unwrap_or_else(|_| output.clone());
        let written = [fs::canonicalize(beside(&path, "partial")).ok(), Some(path)];
        if written.iter().flatten().any(|path| path.is_file() && inputs.contains(path)) {
            let message = format!("{} is read, and would be written over; name another output", output.display());
            return Err(Failure::Usage(message));
        }
    }
    Ok(())
}

/// A text file in one go; see [`OutputFile`].
pub(super) fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = OutputFile::create(path)?;
    file.line(text.trim_end().as_bytes())?;
    file.finish()
}

/// The path with a further extension.
pub(super) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
