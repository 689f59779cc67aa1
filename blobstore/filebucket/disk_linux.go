package filebucket

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// diskDir is a directory of a real file system. Everything goes through its
// descriptor, so that what is linked and what is synced is the same directory.
type diskDir struct {
	disk *disk
	fd   int
}

func (d *disk) OpenDir(path string) (Dir, error) {
	fd, err := retryFD(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &diskDir{disk: d, fd: fd}, nil
}

// CreateTemp makes a file that has no name and vanishes with its descriptor.
func (d *diskDir) CreateTemp() (Temp, error) {
	if d.disk.named != nil {
		return d.disk.named.create()
	}
	fd, err := retryFD(func() (int, error) {
		return unix.Openat(d.fd, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, fileMode)
	})
	if err != nil {
		return nil, os.NewSyscallError("open O_TMPFILE", err)
	}
	return &diskTemp{fd: fd}, nil
}

func (d *diskDir) Link(t Temp, name string) (ID, error) {
	switch t := t.(type) {
	case *namedTemp:
		if err := retry(func() error { return unix.Linkat(unix.AT_FDCWD, t.path, d.fd, name, 0) }); err != nil {
			return ID{}, os.NewSyscallError("link", err)
		}
		// Before the identity is taken: removing changes the inode.
		t.remove()
		return identity(int(t.f.Fd()))
	case *diskTemp:
		from := "/proc/self/fd/" + strconv.Itoa(t.fd)
		if err := retry(func() error {
			return unix.Linkat(unix.AT_FDCWD, from, d.fd, name, unix.AT_SYMLINK_FOLLOW)
		}); err != nil {
			return ID{}, os.NewSyscallError("link", err)
		}
		return identity(t.fd)
	}
	return ID{}, errors.New("link: a file of another file system")
}

func (d *diskDir) Remove(name string) error {
	return os.NewSyscallError("unlink", retry(func() error { return unix.Unlinkat(d.fd, name, 0) }))
}

func (d *diskDir) IsDir(name string) bool {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(d.fd, name, &st, 0) })
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func (d *diskDir) ModTime() (time.Time, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(d.fd, &st) }); err != nil {
		return time.Time{}, os.NewSyscallError("fstat", err)
	}
	return time.Unix(st.Mtim.Unix()), nil
}

// Sync is never repeated after an error, EINTR included: the kernel may have
// dropped what it could not write.
func (d *diskDir) Sync() error { return os.NewSyscallError("fsync", unix.Fsync(d.fd)) }

func (d *diskDir) Close() error { return os.NewSyscallError("close", unix.Close(d.fd)) }

// diskTemp is a file made with O_TMPFILE.
type diskTemp struct{ fd int }

// iovMax is the most parts that writev takes at once (IOV_MAX).
const iovMax = 1024

func (t *diskTemp) Write(parts [][]byte) error { return writeParts(t.fd, parts) }

// writeParts hands the parts to the kernel as they lie, without joining them.
func writeParts(fd int, parts [][]byte) error {
	left := make([][]byte, 0, len(parts))
	for _, p := range parts {
		if len(p) > 0 {
			left = append(left, p)
		}
	}
	for len(left) > 0 {
		n, err := unix.Writev(fd, left[:min(len(left), iovMax)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("writev", err)
		}
		for n > 0 {
			m := min(n, len(left[0]))
			left[0] = left[0][m:]
			n -= m
			if len(left[0]) == 0 {
				left = left[1:]
			}
		}
	}
	return nil
}

func (t *diskTemp) Sync() error { return os.NewSyscallError("fsync", unix.Fsync(t.fd)) }

func (t *diskTemp) Close() error { return os.NewSyscallError("close", unix.Close(t.fd)) }

// diskFile is a file being read.
type diskFile struct{ fd int }

// Open does not wait for a writer if somebody has put a pipe there.
func (d *disk) Open(path string) (File, error) {
	fd, err := retryFD(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return diskFile{fd}, nil
}

func (f diskFile) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, os.NewSyscallError("pread", err)
		}
		if n == 0 {
			return done, errShrunk
		}
		done += n
	}
	return done, nil
}

// errShrunk: an object never changes once it has a name.
var errShrunk = errors.New("the file became shorter while it was read")

func (f diskFile) Stat() (Info, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return Info{}, os.NewSyscallError("fstat", err)
	}
	return Info{
		Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()),
		NotFile: st.Mode&unix.S_IFMT != unix.S_IFREG, ID: statID(&st),
	}, nil
}

func (f diskFile) Close() error { return os.NewSyscallError("close", unix.Close(f.fd)) }

func identity(fd int) (ID, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return ID{}, os.NewSyscallError("fstat", err)
	}
	return statID(&st), nil
}

func statID(st *unix.Stat_t) ID { return ID{Inode: st.Ino, Change: st.Ctim.Nano()} }

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func retryFD(call func() (int, error)) (fd int, err error) {
	err = retry(func() error { fd, err = call(); return err })
	return fd, err
}
