//! Puts secrets into a container as files.
//!
//! The files are copied into a volume of the created container, not into its own file system. So
//! neither `docker inspect` nor an image made of the container shows them, and a read-only root
//! file system accepts them. The volume has no name, so it goes when the container does.

use bollard::models::{Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::UploadToContainerOptionsBuilder;

use super::client::EngineClient;
use super::errors::CallError;
use crate::domain::job::Reason;
use crate::domain::names::id::ContainerId;
use crate::domain::spec::secret::SECRETS_DIR;
use crate::engine::{CALL_TIMEOUT, EngineError, SecretFile};

/// Returns the volume for the secret files.
pub(super) fn volume() -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        target: Some(SECRETS_DIR.to_owned()),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

/// Copies the files into the volume. Repeating the call changes nothing.
pub(super) async fn put(
    client: &EngineClient,
    container: &ContainerId,
    files: &[SecretFile],
) -> Result<(), EngineError> {
    let archive = archive(files).map_err(|error| EngineError::Refused {
        reason: Reason::CreateFailed,
        message: format!("its secrets cannot be packed: {error}"),
    })?;
    let options = UploadToContainerOptionsBuilder::new().path(SECRETS_DIR).build();
    client
        .call(CALL_TIMEOUT, async |client| {
            client
                .upload_to_container(
                    &container.0,
                    Some(options),
                    bollard::body_full(archive.into()),
                )
                .await
        })
        .await
        .map_err(|fault: CallError| fault.into_refusal(Reason::CreateFailed))
}

/// Packs the files: owned by root, and readable by everybody in the container, because its process
/// may run as any user.
fn archive(files: &[SecretFile]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let content = file.content.expose();
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o444);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, &file.name, content)?;
    }
    archive.into_inner()
}
