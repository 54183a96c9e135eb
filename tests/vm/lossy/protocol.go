package lossy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The NBD protocol, fixed newstyle: https://github.com/NetworkBlockDevice/nbd,
// doc/proto.md. All numbers are big-endian.
const (
	magicGreeting = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption   = 0x49484156454f5054 // "IHAVEOPT"
	magicAnswer   = 0x0003e889045565a9
	magicRequest  = 0x25609513
	magicReply    = 0x67446698

	flagFixed   = 1 << 0 // of the handshake
	flagNoZeros = 1 << 1
)

// Options of the handshake.
const (
	optionExportName = 1
	optionAbort      = 2
	optionList       = 3
	optionInfo       = 6
	optionGo         = 7
)

// Replies to options.
const (
	answerAcknowledge = 1
	answerServer      = 2
	answerInfo        = 3
	answerUnsupported = 1<<31 | 1
	answerInvalid     = 1<<31 | 3

	infoExport    = 0
	infoBlockSize = 3
)

// The disk's features: flush, write-through, trim and write-zeros; and a flush on one connection
// applies to all.
const transmission = 1<<0 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<8

// Commands, and a command flag.
const (
	commandRead  = 0
	commandWrite = 1
	commandLeave = 2
	commandFlush = 3
	commandTrim  = 4
	commandZero  = 6

	commandFUA = 1 << 0
)

// Errors in a reply.
const (
	errnoIO      = 5
	errnoInvalid = 22
)

// longest limits what one request may read or write, and longestOption the data of an option.
const (
	longest       = 32 << 20
	longestOption = 64 << 10
)

// errLeft reports that the client ended the handshake properly.
var errLeft = errors.New("the client has left")

// handshake negotiates with a client. Whatever export name it requests, it gets the only disk there
// is.
func handshake(rw io.ReadWriter, size int64) error {
	greeting := binary.BigEndian.AppendUint64(nil, magicGreeting)
	greeting = binary.BigEndian.AppendUint64(greeting, magicOption)
	greeting = binary.BigEndian.AppendUint16(greeting, flagFixed|flagNoZeros)
	if _, err := rw.Write(greeting); err != nil {
		return err
	}
	var client uint32
	if err := binary.Read(rw, binary.BigEndian, &client); err != nil {
		return err
	}
	for {
		var head struct {
			Magic        uint64
			Option, Size uint32
		}
		if err := binary.Read(rw, binary.BigEndian, &head); err != nil {
			return err
		}
		if head.Magic != magicOption || head.Size > longestOption {
			return fmt.Errorf("no option: magic %#x, %d bytes", head.Magic, head.Size)
		}
		body := make([]byte, head.Size)
		if _, err := io.ReadFull(rw, body); err != nil {
			return err
		}
		if head.Option == optionExportName {
			export := exported(size)
			if client&flagNoZeros == 0 {
				export = append(export, make([]byte, 124)...)
			}
			_, err := rw.Write(export)
			return err
		}
		text, done, err := agree(head.Option, body, size)
		if _, failed := rw.Write(text); failed != nil {
			return failed
		}
		if done || err != nil {
			return err
		}
	}
}

// agree answers an option; done is true when the handshake is complete.
func agree(option uint32, body []byte, size int64) (text []byte, done bool, err error) {
	switch option {
	case optionAbort:
		return answer(nil, option, answerAcknowledge, nil), false, errLeft
	case optionList:
		text = answer(nil, option, answerServer, []byte{0, 0, 0, 0}) // one, with an empty name
		return answer(text, option, answerAcknowledge, nil), false, nil
	case optionInfo, optionGo:
		if len(body) < 6 || int64(len(body)) < 6+int64(binary.BigEndian.Uint32(body)) {
			return answer(nil, option, answerInvalid, nil), false, nil
		}
		text = answer(nil, option, answerInfo, append([]byte{0, infoExport}, exported(size)...))
		limits := []byte{0, infoBlockSize}
		for _, n := range []uint32{1, page, longest} { // minimum, preferred, maximum
			limits = binary.BigEndian.AppendUint32(limits, n)
		}
		text = answer(text, option, answerInfo, limits)
		return answer(text, option, answerAcknowledge, nil), option == optionGo, nil
	}
	return answer(nil, option, answerUnsupported, nil), false, nil
}

func exported(size int64) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(nil, uint64(size)), transmission)
}

func answer(b []byte, option, kind uint32, body []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, magicAnswer)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// request is a client's request, 28 bytes.
type request struct {
	flags, command uint16
	cookie         uint64
	at             int64
	length         int64
}

const requestSize = 28

// errRequest reports that the data is not a request: the stream is out of sync.
var errRequest = errors.New("no NBD request")

func parseRequest(b []byte) (r request, err error) {
	if len(b) < requestSize || binary.BigEndian.Uint32(b) != magicRequest {
		return r, errRequest
	}
	r = request{
		flags: binary.BigEndian.Uint16(b[4:]), command: binary.BigEndian.Uint16(b[6:]), cookie: binary.BigEndian.Uint64(b[8:]),
		at: int64(binary.BigEndian.Uint64(b[16:])), length: int64(binary.BigEndian.Uint32(b[24:])),
	}
	if r.command == commandWrite && r.length > longest {
		return r, fmt.Errorf("%w: a write of %d bytes", errRequest, r.length)
	}
	return r, nil
}

// reply appends the header of a reply; data that was read follows.
func reply(b []byte, cookie uint64, errno uint32) []byte {
	b = binary.BigEndian.AppendUint32(b[:0], magicReply)
	b = binary.BigEndian.AppendUint32(b, errno)
	return binary.BigEndian.AppendUint64(b, cookie)
}
