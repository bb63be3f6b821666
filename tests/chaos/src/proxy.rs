//! A proxy in front of a node's socket whose connections can be cut.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// It listens for as long as the process lives; [`cut`](Self::cut) ends what it carries.
pub struct Proxy {
    address: SocketAddr,
    carried: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// In front of a Unix socket, which need not be there yet.
    pub fn start(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().unwrap();
        let carried = Arc::new(Mutex::new(Vec::new()));
        let (all, socket) = (carried.clone(), socket.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Nobody there: dropped, as a host refuses.
                let _ = carry(client, &socket, &all);
            }
        });
        Self { address, carried }
    }

    /// For `connect`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts every connection and says how many.
    pub fn cut(&self) -> usize {
        let carried = std::mem::take(&mut *lock(&self.carried));
        carried.iter().filter(|client| client.shutdown(Shutdown::Both).is_ok()).count()
    }
}

fn lock(carried: &Mutex<Vec<TcpStream>>) -> MutexGuard<'_, Vec<TcpStream>> {
    carried.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry(client: TcpStream, socket: &PathBuf, all: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let node = UnixStream::connect(socket)?;
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = (client.try_clone()?, client.try_clone()?);
    let (mut to_node, mut from_node) = (node.try_clone()?, node);
    lock(all).push(client);
    // Each way takes the other with it when it ends.
    let ended = |client: &TcpStream, node: &UnixStream| {
        let _ = client.shutdown(Shutdown::Both);
        let _ = node.shutdown(Shutdown::Both);
    };
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_node);
        ended(&from_client, &to_node);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut from_node, &mut to_client);
        ended(&to_client, &from_node);
    });
    Ok(())
}
