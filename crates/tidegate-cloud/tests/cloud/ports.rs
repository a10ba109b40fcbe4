//! Ports and folders: how a local cloud comes up.

use tidegate_cloud::{LocalCloud, Ports};

use crate::Outcome;

#[tokio::test]
async fn a_taken_port_is_named_together_with_who_wanted_it() -> Outcome {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let folder = tempfile::tempdir()?;
    for (ports, who) in [(Ports { dynamodb: port, s3: 0 }, "DynamoDB"), (Ports { dynamodb: 0, s3: port }, "S3")] {
        let error = LocalCloud::open(folder.path(), ports).err().ok_or("opened on a taken port")?.to_string();
        assert!(error.contains(&port.to_string()) && error.contains(who), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() -> Outcome {
    let file = tempfile::NamedTempFile::new()?;
    let folder = file.path().join("below-a-file");
    let error = LocalCloud::open(&folder, Ports::default()).err().ok_or("opened below a file")?.to_string();
    assert!(error.contains("below-a-file"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_environment_points_another_process_here() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let environment = cloud.environment();
    let value = |name| environment.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone());
    assert_eq!(value("AWS_ENDPOINT_URL_DYNAMODB"), Some(cloud.dynamodb_url()));
    assert_eq!(value("AWS_ENDPOINT_URL_S3"), Some(cloud.s3_url()));
    assert_eq!(value("AWS_REGION").as_deref(), Some(tidegate_cloud::REGION));
    assert_eq!(value("AWS_ACCESS_KEY_ID").as_deref(), Some(tidegate_cloud::ACCESS_KEY));
    assert_eq!(value("AWS_SECRET_ACCESS_KEY").as_deref(), Some(tidegate_cloud::SECRET_KEY));
    Ok(())
}

#[tokio::test]
async fn nothing_answers_after_a_shutdown_or_a_drop() -> Outcome {
    for dropped in [false, true] {
        let cloud = LocalCloud::temporary()?;
        let addresses = [cloud.dynamodb_url(), cloud.s3_url()].map(|url| url.replace("http://", ""));
        if dropped {
            drop(cloud);
            // An aborted task ends when the runtime next looks at it.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        } else {
            cloud.shutdown().await;
        }
        for address in addresses {
            assert!(tokio::net::TcpStream::connect(&address).await.is_err(), "{address} still answers");
        }
    }
    Ok(())
}
