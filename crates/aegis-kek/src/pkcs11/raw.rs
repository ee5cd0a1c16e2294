//! Calls into a PKCS#11 module. The only unsafe code of this crate.
//!
//! The bare function table is used throughout, not a wrapper of it, for three reasons: mechanism 0x210B
//! (`CKM_AES_KEY_WRAP_KWP`) cannot be expressed by the `cryptoki` crate; a length that a broken module answers is
//! believed by nobody here, while a wrapper allocates it; and every answer keeps its return code, which says whether
//! to try again.
//!
//! | what | PKCS#11 3.1 |
//! |---|---|
//! | [`Module`]: loaded once for the process, initialised with operating system locks | 5.4 |
//! | slots and tokens | 5.5 |
//! | [`Session`]: closed when dropped | 5.6 |
//! | objects: found, made, read, destroyed | 5.7 |
//! | encryption, decryption in one part | 5.8, 5.9 |
//! | keys: made, wrapped, unwrapped | 5.18 |
//!
//! What the unsafe code relies on: a module keeps to the standard's signatures and writes no more bytes than it is
//! told there is room for. A module that does not is in this process anyway, and could do anything.

#![allow(
    unsafe_code,
    reason = "calls through the C function table of a PKCS#11 module; see the module's comment"
)]

use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use cryptoki_sys as sys;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SLOT_ID, CK_ULONG,
};
use zeroize::Zeroizing;

use super::answer::{DeviceAnswer, ReturnCode};
use super::fault::ModuleFault;

/// The most slots that are looked at.
const MAX_SLOTS: usize = 1024;

/// A module that is loaded and initialised. It stays so until the process ends.
///
/// There is one of it in a process, whatever number of providers use it: initialising and logging in are for the whole
/// process, and unloading a library that may have threads of its own is not safe.
pub(super) struct Module {
    path: PathBuf,
    table: sys::CK_FUNCTION_LIST,
    init: Option<CString>,
    // Read by every call, written to start the module anew: no call may run while it is finalized.
    life: RwLock<Life>,
    /// PINs that a token refused, as digests. They are not offered again in this process.
    pub(super) refused_pins: Mutex<Vec<(String, [u8; 32])>>,
    // The functions in `table` are in it.
    _library: sys::Pkcs11,
}

/// Which life of the module it is. Handles of an earlier one mean nothing, or another session.
#[derive(Debug, Clone, Copy)]
struct Life {
    number: u64,
    /// A child of fork(2) has to initialise anew.
    pid: u32,
    /// Whether it was us who initialised it. If not, finalizing would end the sessions of somebody else.
    ours: bool,
}

/// The arguments of `C_Initialize`. NSS reads one pointer beyond those of the standard, in which it wants null.
#[repr(C)]
struct InitializeArguments {
    standard: sys::CK_C_INITIALIZE_ARGS,
    beyond: *mut c_void,
}

static LOADED: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

impl Module {
    /// The module at `path`, loaded now or before.
    pub(super) fn shared(path: &Path, init: Option<&str>) -> Result<Arc<Self>, ModuleFault> {
        if !path.is_absolute() {
            return Err(ModuleFault::NotAbsolute);
        }
        let path = path.canonicalize().map_err(ModuleFault::Open)?;
        let init = init.map(CString::new).transpose().map_err(|_| ModuleFault::InitString)?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.iter().find(|known| known.path == path && known.init == init) {
            return Ok(Arc::clone(known));
        }
        let module = Arc::new(Self::load(path, init)?);
        loaded.push(Arc::clone(&module));
        Ok(module)
    }

    fn load(path: PathBuf, init: Option<CString>) -> Result<Self, ModuleFault> {
        // SAFETY: loading runs the library's initialisers. The operator named this library to be run in this process.
        let library = unsafe { sys::Pkcs11::new(&path) }
            .map_err(|error| ModuleFault::NoLibrary { text: one_line(&error.to_string()) })?;
        let Ok(list_of) = library.C_GetFunctionList.as_ref() else { return Err(ModuleFault::NotPkcs11) };
        let mut list = ptr::null_mut();
        // SAFETY: `list` is a live pointer to write to.
        checked("C_GetFunctionList", unsafe { list_of(&raw mut list) }).map_err(ModuleFault::Answer)?;
        if list.is_null() {
            return Err(ModuleFault::NotPkcs11);
        }
        // SAFETY: not null. The version comes first in the table of every version of the standard.
        let version = unsafe { (*list).version };
        if !matches!(version.major, 2 | 3) {
            return Err(ModuleFault::Version { major: version.major, minor: version.minor });
        }
        // SAFETY: `C_GetFunctionList` gives the table of 2.40, which is this structure, in static memory of the library.
        let table = unsafe { *list };
        let life = Life { number: 0, pid: std::process::id(), ours: initialise(&table, init.as_ref())? };
        Ok(Self {
            path,
            table,
            init,
            life: RwLock::new(life),
            refused_pins: Mutex::new(Vec::new()),
            _library: library,
        })
    }

    /// Number of the present life. Sessions that were opened in another one are gone.
    pub(super) fn life(&self) -> u64 {
        self.life.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// Finalizes and initialises, if that is ours to do and nobody has done it since the life `seen`.
    ///
    /// Some modules find a device that came back only so.
    pub(super) fn start_anew(&self, seen: u64) -> Result<(), ModuleFault> {
        let mut life = self.life.write().unwrap_or_else(PoisonError::into_inner);
        if life.number != seen || !life.ours {
            return Ok(());
        }
        life.number += 1;
        let finalize = entry("C_Finalize", self.table.C_Finalize).map_err(ModuleFault::Answer)?;
        // SAFETY: the argument is reserved and null. The lock is held for writing, so no other call is running.
        let _ = checked("C_Finalize", unsafe { finalize(ptr::null_mut()) });
        life.ours = initialise(&self.table, self.init.as_ref())?;
        Ok(())
    }

    /// After fork(2) a child has to initialise for itself (5.4).
    pub(super) fn belong_to_this_process(&self) -> Result<(), ModuleFault> {
        let pid = std::process::id();
        if self.life.read().unwrap_or_else(PoisonError::into_inner).pid == pid {
            return Ok(());
        }
        let mut life = self.life.write().unwrap_or_else(PoisonError::into_inner);
        if life.pid != pid {
            life.number += 1;
            life.pid = pid;
            life.ours = initialise(&self.table, self.init.as_ref())? || life.ours;
        }
        Ok(())
    }

    /// The slots with a token in them.
    pub(super) fn slots(&self) -> Result<Vec<CK_SLOT_ID>, DeviceAnswer> {
        const NAME: &str = "C_GetSlotList";
        let list = entry(NAME, self.table.C_GetSlotList)?;
        let _life = self.living(None)?;
        let mut count: CK_ULONG = 0;
        // Asking for the number alone is also what makes a module look for tokens that came or went.
        // SAFETY: no list is asked for; `count` is live.
        checked(NAME, unsafe { list(sys::CK_TRUE, ptr::null_mut(), &raw mut count) })?;
        bounded(NAME, count, MAX_SLOTS)?;
        // More room than was asked for: NSS 3.87 writes all of its list, whatever it is told, and a token may have come.
        let mut slots: Vec<CK_SLOT_ID> = vec![0; MAX_SLOTS];
        count = length(slots.len());
        // SAFETY: `slots` has room for the entries that `count` says.
        checked(NAME, unsafe { list(sys::CK_TRUE, slots.as_mut_ptr(), &raw mut count) })?;
        slots.truncate(bounded(NAME, count, MAX_SLOTS)?);
        Ok(slots)
    }

    /// What a token says of itself.
    pub(super) fn token(&self, slot: CK_SLOT_ID) -> Result<TokenInfo, DeviceAnswer> {
        const NAME: &str = "C_GetTokenInfo";
        let info_of = entry(NAME, self.table.C_GetTokenInfo)?;
        let _life = self.living(None)?;
        let mut info = sys::CK_TOKEN_INFO::default();
        // SAFETY: `info` is live and of the type that the function fills.
        checked(NAME, unsafe { info_of(slot, &raw mut info) })?;
        Ok(TokenInfo { label: padded_text(&info.label), flags: info.flags })
    }

    /// Holds off finalizing for the length of a call, and refuses handles of an earlier life.
    fn living(&self, opened_in: Option<u64>) -> Result<RwLockReadGuard<'_, Life>, DeviceAnswer> {
        let life = self.life.read().unwrap_or_else(PoisonError::into_inner);
        if life.pid != std::process::id() || opened_in.is_some_and(|number| number != life.number) {
            return Err(DeviceAnswer::SessionOfThePast);
        }
        Ok(life)
    }
}

/// What a token says of itself.
pub(super) struct TokenInfo {
    pub(super) label: String,
    flags: sys::CK_FLAGS,
}

impl TokenInfo {
    pub(super) const fn is_initialised(&self) -> bool {
        self.flags & sys::CKF_TOKEN_INITIALIZED != 0
    }

    pub(super) const fn pin_is_locked(&self) -> bool {
        self.flags & sys::CKF_USER_PIN_LOCKED != 0
    }

    pub(super) const fn is_last_try(&self) -> bool {
        self.flags & sys::CKF_USER_PIN_FINAL_TRY != 0
    }
}

/// What a session may change on the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Session objects only.
    ReadOnly,
    /// Token objects too.
    ReadWrite,
}

/// An open session. Closed when dropped, and its session objects with it.
pub(super) struct Session {
    module: Arc<Module>,
    handle: sys::CK_SESSION_HANDLE,
    life: u64,
}

/// An object of a session or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object(CK_OBJECT_HANDLE);

/// A part of a template.
pub(super) enum Attribute<'a> {
    Number(CK_ATTRIBUTE_TYPE, CK_ULONG),
    Flag(CK_ATTRIBUTE_TYPE, sys::CK_BBOOL),
    Bytes(CK_ATTRIBUTE_TYPE, &'a [u8]),
}

/// A mechanism and its parameters.
pub(super) enum Cipher<'a> {
    /// No parameters.
    Plain(u64),
    /// AES-GCM with a tag of 16 bytes.
    Gcm { iv: &'a [u8; 12], associated_data: &'a [u8] },
}

impl Session {
    pub(super) fn open(module: &Arc<Module>, slot: CK_SLOT_ID, access: Access) -> Result<Self, DeviceAnswer> {
        const NAME: &str = "C_OpenSession";
        let open = entry(NAME, module.table.C_OpenSession)?;
        let flags = match access {
            Access::ReadOnly => sys::CKF_SERIAL_SESSION,
            Access::ReadWrite => sys::CKF_SERIAL_SESSION | sys::CKF_RW_SESSION,
        };
        let life = module.living(None)?;
        let mut handle = 0;
        // SAFETY: no callback and nothing for one; `handle` is live.
        checked(NAME, unsafe { open(slot, flags, ptr::null_mut(), None, &raw mut handle) })?;
        let number = life.number;
        drop(life);
        Ok(Self { module: Arc::clone(module), handle, life: number })
    }

    /// Logs the whole process in.
    pub(super) fn log_in(&self, pin: &[u8]) -> Result<(), DeviceAnswer> {
        const NAME: &str = "C_Login";
        let log_in = entry(NAME, self.module.table.C_Login)?;
        let _life = self.living()?;
        // SAFETY: the PIN is a live slice of this length, which the function only reads.
        checked(NAME, unsafe {
            log_in(self.handle, sys::CKU_USER, pin.as_ptr().cast_mut(), length(pin.len()))
        })
    }

    /// At most `limit` objects that match.
    pub(super) fn find(&self, template: &[Attribute<'_>], limit: usize) -> Result<Vec<Object>, DeviceAnswer> {
        const NAME: &str = "C_FindObjects";
        let table = &self.module.table;
        let begin = entry("C_FindObjectsInit", table.C_FindObjectsInit)?;
        let next = entry(NAME, table.C_FindObjects)?;
        let end = entry("C_FindObjectsFinal", table.C_FindObjectsFinal)?;
        let _life = self.living()?;
        let mut raw = raw_template(template);
        // SAFETY: the template's entries point into `template`, which outlives the call and is only read.
        checked("C_FindObjectsInit", unsafe { begin(self.handle, raw.as_mut_ptr(), length(raw.len())) })?;
        let mut handles: Vec<CK_OBJECT_HANDLE> = vec![0; limit];
        let mut found = 0;
        // A module may give fewer at a time than there is room for.
        let searched = loop {
            let room = handles.get_mut(found..).unwrap_or_default();
            if room.is_empty() {
                break Ok(());
            }
            let mut count: CK_ULONG = 0;
            // SAFETY: `room` is live and has as many entries as the function is told.
            let answer = checked(NAME, unsafe {
                next(self.handle, room.as_mut_ptr(), length(room.len()), &raw mut count)
            });
            match answer.and_then(|()| bounded(NAME, count, room.len())) {
                Ok(0) => break Ok(()),
                Ok(count) => found += count,
                Err(error) => break Err(error),
            }
        };
        // SAFETY: ends the search that was begun above.
        let ended = checked("C_FindObjectsFinal", unsafe { end(self.handle) });
        searched.and(ended)?;
        handles.truncate(found);
        Ok(handles.into_iter().map(Object).collect())
    }

    /// The value of an attribute, at most `limit` bytes. `None` if the token does not show it.
    pub(super) fn attribute(
        &self,
        object: Object,
        kind: CK_ATTRIBUTE_TYPE,
        limit: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DeviceAnswer> {
        const NAME: &str = "C_GetAttributeValue";
        let value_of = entry(NAME, self.module.table.C_GetAttributeValue)?;
        let _life = self.living()?;
        let mut value = Zeroizing::new(vec![0_u8; limit]);
        let mut wanted =
            CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: length(limit) };
        // SAFETY: `wanted` is one live entry, and points to `limit` bytes that may be written.
        let answer = checked(NAME, unsafe { value_of(self.handle, object.0, &raw mut wanted, 1) });
        match answer {
            Ok(()) if wanted.ulValueLen == sys::CK_UNAVAILABLE_INFORMATION => Ok(None),
            Ok(()) => {
                value.truncate(bounded(NAME, wanted.ulValueLen, limit)?);
                Ok(Some(value))
            }
            Err(error)
                if error.is(ReturnCode::ATTRIBUTE_SENSITIVE)
                    || error.is(ReturnCode::ATTRIBUTE_TYPE_INVALID) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn create(&self, template: &[Attribute<'_>]) -> Result<Object, DeviceAnswer> {
        const NAME: &str = "C_CreateObject";
        let create = entry(NAME, self.module.table.C_CreateObject)?;
        let _life = self.living()?;
        let mut raw = raw_template(template);
        let mut object = 0;
        // SAFETY: the template's entries point into `template`, which outlives the call and is only read.
        let made = unsafe { create(self.handle, raw.as_mut_ptr(), length(raw.len()), &raw mut object) };
        checked(NAME, made).map(|()| Object(object))
    }

    pub(super) fn destroy(&self, object: Object) -> Result<(), DeviceAnswer> {
        const NAME: &str = "C_DestroyObject";
        let destroy = entry(NAME, self.module.table.C_DestroyObject)?;
        let _life = self.living()?;
        // SAFETY: takes numbers only.
        checked(NAME, unsafe { destroy(self.handle, object.0) })
    }

    pub(super) fn generate_key(
        &self,
        mechanism: u64,
        template: &[Attribute<'_>],
    ) -> Result<Object, DeviceAnswer> {
        const NAME: &str = "C_GenerateKey";
        let generate = entry(NAME, self.module.table.C_GenerateKey)?;
        let _life = self.living()?;
        let mut raw = raw_template(template);
        let mut object = 0;
        let made = with_mechanism(&Cipher::Plain(mechanism), |mechanism| {
            // SAFETY: the mechanism lives for this call; the template's entries point into `template`, which is only
            // read.
            unsafe { generate(self.handle, mechanism, raw.as_mut_ptr(), length(raw.len()), &raw mut object) }
        });
        checked(NAME, made).map(|()| Object(object))
    }

    /// `key` under `wrapping_key`, at most `limit` bytes.
    pub(super) fn wrap(
        &self,
        cipher: &Cipher<'_>,
        wrapping_key: Object,
        key: Object,
        limit: usize,
    ) -> Result<Vec<u8>, DeviceAnswer> {
        const NAME: &str = "C_WrapKey";
        let wrap = entry(NAME, self.module.table.C_WrapKey)?;
        let _life = self.living()?;
        let mut wrapped = vec![0_u8; limit];
        let mut len = length(limit);
        let made = with_mechanism(cipher, |mechanism| {
            // SAFETY: the mechanism lives for this call; `wrapped` has the room that `len` says.
            unsafe { wrap(self.handle, mechanism, wrapping_key.0, key.0, wrapped.as_mut_ptr(), &raw mut len) }
        });
        checked(NAME, made)?;
        wrapped.truncate(bounded(NAME, len, limit)?);
        Ok(wrapped)
    }

    /// Makes an object of what was wrapped.
    pub(super) fn unwrap(
        &self,
        cipher: &Cipher<'_>,
        unwrapping_key: Object,
        wrapped: &[u8],
        template: &[Attribute<'_>],
    ) -> Result<Object, DeviceAnswer> {
        const NAME: &str = "C_UnwrapKey";
        let unwrap = entry(NAME, self.module.table.C_UnwrapKey)?;
        let _life = self.living()?;
        let mut raw = raw_template(template);
        let mut object = 0;
        let made = with_mechanism(cipher, |mechanism| {
            // SAFETY: the mechanism lives for this call; `wrapped` and what the template points to are only read.
            unsafe {
                unwrap(
                    self.handle,
                    mechanism,
                    unwrapping_key.0,
                    wrapped.as_ptr().cast_mut(),
                    length(wrapped.len()),
                    raw.as_mut_ptr(),
                    length(raw.len()),
                    &raw mut object,
                )
            }
        });
        checked(NAME, made).map(|()| Object(object))
    }

    /// Encrypts in one part, to at most `limit` bytes.
    pub(super) fn encrypt(
        &self,
        cipher: &Cipher<'_>,
        key: Object,
        plain: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, DeviceAnswer> {
        const NAME: &str = "C_Encrypt";
        let begin = entry("C_EncryptInit", self.module.table.C_EncryptInit)?;
        let encrypt = entry(NAME, self.module.table.C_Encrypt)?;
        let _life = self.living()?;
        let (begun, done) = (
            |mechanism: *mut CK_MECHANISM| {
                // SAFETY: the mechanism lives until both calls are made: its parameters are used by the second one.
                checked("C_EncryptInit", unsafe { begin(self.handle, mechanism, key.0) })
            },
            |to: &mut [u8], len: &mut CK_ULONG| {
                // SAFETY: `plain` is only read; `to` has the room that `len` says.
                checked(NAME, unsafe {
                    encrypt(self.handle, plain.as_ptr().cast_mut(), length(plain.len()), to.as_mut_ptr(), len)
                })
            },
        );
        in_one_part(NAME, cipher, limit, begun, done).map(|mut sealed| std::mem::take(&mut *sealed))
    }

    /// Decrypts in one part, to at most `limit` bytes.
    pub(super) fn decrypt(
        &self,
        cipher: &Cipher<'_>,
        key: Object,
        sealed: &[u8],
        limit: usize,
    ) -> Result<Zeroizing<Vec<u8>>, DeviceAnswer> {
        const NAME: &str = "C_Decrypt";
        let begin = entry("C_DecryptInit", self.module.table.C_DecryptInit)?;
        let decrypt = entry(NAME, self.module.table.C_Decrypt)?;
        let _life = self.living()?;
        let (begun, done) = (
            |mechanism: *mut CK_MECHANISM| {
                // SAFETY: the mechanism lives until both calls are made: its parameters are used by the second one.
                checked("C_DecryptInit", unsafe { begin(self.handle, mechanism, key.0) })
            },
            |to: &mut [u8], len: &mut CK_ULONG| {
                // SAFETY: `sealed` is only read; `to` has the room that `len` says.
                checked(NAME, unsafe {
                    decrypt(
                        self.handle,
                        sealed.as_ptr().cast_mut(),
                        length(sealed.len()),
                        to.as_mut_ptr(),
                        len,
                    )
                })
            },
        );
        in_one_part(NAME, cipher, limit, begun, done)
    }

    fn living(&self) -> Result<RwLockReadGuard<'_, Life>, DeviceAnswer> {
        self.module.living(Some(self.life))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A handle of an earlier life may by now be that of another session, which is not ours to close.
        if let (Ok(_life), Some(close)) = (self.living(), self.module.table.C_CloseSession) {
            // SAFETY: takes a number only. A session that is gone already is not an error here.
            let _ = unsafe { close(self.handle) };
        }
    }
}

/// Whether it was us who initialised.
fn initialise(table: &sys::CK_FUNCTION_LIST, init: Option<&CString>) -> Result<bool, ModuleFault> {
    const NAME: &str = "C_Initialize";
    let initialise = entry(NAME, table.C_Initialize).map_err(ModuleFault::Answer)?;
    let mut arguments = InitializeArguments {
        standard: sys::CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: sys::CKF_OS_LOCKING_OK,
            // Modules of the standard refuse anything but null here; NSS wants a string.
            pReserved: init.map_or(ptr::null_mut(), |text| text.as_ptr().cast_mut().cast()),
        },
        beyond: ptr::null_mut(),
    };
    // SAFETY: `arguments` begins with the structure of the standard, and is live, as is the string it may point to;
    // both are only read, and copied by what keeps them.
    match checked(NAME, unsafe { initialise((&raw mut arguments).cast()) }) {
        Ok(()) => Ok(true),
        // Another part of this process uses the same library.
        Err(error) if error.is(ReturnCode::CRYPTOKI_ALREADY_INITIALIZED) => Ok(false),
        Err(error) => Err(ModuleFault::Answer(error)),
    }
}

/// Begins an operation and does it, with the mechanism's parameters living through both.
fn in_one_part(
    name: &'static str,
    cipher: &Cipher<'_>,
    limit: usize,
    begin: impl FnOnce(*mut CK_MECHANISM) -> Result<(), DeviceAnswer>,
    finish: impl FnOnce(&mut [u8], &mut CK_ULONG) -> Result<(), DeviceAnswer>,
) -> Result<Zeroizing<Vec<u8>>, DeviceAnswer> {
    with_mechanism(cipher, |mechanism| {
        begin(mechanism)?;
        let mut out = Zeroizing::new(vec![0_u8; limit]);
        let mut len = length(limit);
        finish(&mut out, &mut len)?;
        out.truncate(bounded(name, len, limit)?);
        Ok(out)
    })
}

/// Lends a mechanism in the form of the standard. It and its parameters live until `work` returns.
fn with_mechanism<T>(cipher: &Cipher<'_>, work: impl FnOnce(*mut CK_MECHANISM) -> T) -> T {
    match cipher {
        Cipher::Plain(number) => {
            let mut mechanism =
                CK_MECHANISM { mechanism: *number, pParameter: ptr::null_mut(), ulParameterLen: 0 };
            work(&raw mut mechanism)
        }
        Cipher::Gcm { iv, associated_data } => {
            // A copy: the parameter is not constant in the standard, and a module may write there.
            let mut iv: [u8; 12] = **iv;
            let mut parameters = sys::CK_GCM_PARAMS {
                pIv: iv.as_mut_ptr(),
                ulIvLen: length(iv.len()),
                ulIvBits: length(iv.len() * 8),
                pAAD: associated_data.as_ptr().cast_mut(),
                ulAADLen: length(associated_data.len()),
                ulTagBits: 128,
            };
            let mut mechanism = CK_MECHANISM {
                mechanism: sys::CKM_AES_GCM,
                pParameter: (&raw mut parameters).cast(),
                ulParameterLen: length(size_of::<sys::CK_GCM_PARAMS>()),
            };
            work(&raw mut mechanism)
        }
    }
}

/// A template in the form of the standard. Its entries point into `template`.
fn raw_template(template: &[Attribute<'_>]) -> Vec<CK_ATTRIBUTE> {
    let entry = |type_, value: *const c_void, len| CK_ATTRIBUTE {
        type_,
        pValue: value.cast_mut(),
        ulValueLen: length(len),
    };
    template
        .iter()
        .map(|attribute| match attribute {
            Attribute::Number(kind, number) => {
                entry(*kind, ptr::from_ref(number).cast(), size_of::<CK_ULONG>())
            }
            Attribute::Flag(kind, flag) => {
                entry(*kind, ptr::from_ref(flag).cast(), size_of::<sys::CK_BBOOL>())
            }
            Attribute::Bytes(kind, bytes) => entry(*kind, bytes.as_ptr().cast(), bytes.len()),
        })
        .collect()
}

fn entry<F>(function: &'static str, found: Option<F>) -> Result<F, DeviceAnswer> {
    found.ok_or(DeviceAnswer::NoFunction { function })
}

fn checked(function: &'static str, code: CK_RV) -> Result<(), DeviceAnswer> {
    if code == sys::CKR_OK { Ok(()) } else { Err(DeviceAnswer::Code { function, code: ReturnCode(code) }) }
}

/// A length or count that a module answered, if it can be.
fn bounded(function: &'static str, found: CK_ULONG, limit: usize) -> Result<usize, DeviceAnswer> {
    usize::try_from(found).ok().filter(|len| *len <= limit).ok_or(DeviceAnswer::Length {
        function,
        found,
        limit: length(limit),
    })
}

fn length(len: usize) -> CK_ULONG {
    CK_ULONG::try_from(len)
        .expect("an unsigned long of the platforms that PKCS#11 is used on has the width of a pointer")
}

/// A text of fixed length, filled up with spaces or, by some, with zeros.
fn padded_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned()
}

/// The loader's text, which may have line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

/// The numbers of the standard that the rest of this provider names.
pub(super) mod number {
    pub(in crate::pkcs11) use cryptoki_sys::{
        CK_FALSE, CK_TRUE, CKA_CLASS, CKA_DECRYPT, CKA_ENCRYPT, CKA_EXTRACTABLE, CKA_KEY_TYPE, CKA_LABEL,
        CKA_PRIVATE, CKA_SENSITIVE, CKA_TOKEN, CKA_UNWRAP, CKA_VALUE, CKA_VALUE_LEN, CKA_WRAP, CKK_AES,
        CKK_GENERIC_SECRET, CKM_AES_KEY_GEN, CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD, CKO_SECRET_KEY,
    };
    pub(in crate::pkcs11) use cryptoki_sys::{CK_SLOT_ID, CK_ULONG};
}
