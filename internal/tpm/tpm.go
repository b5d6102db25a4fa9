// Package tpm keeps a small secret in a file that only this host's TPM 2.0 opens, and only while the platform measures
// what it measured then, if that is asked for.
//
// The secret is a sealed object under the storage root key of the owner hierarchy, which the TPM makes again from its seed
// each time (TCG's reference template, ECC P-256): nothing is stored in the TPM, and clearing it makes the file worthless.
// What crosses the bus to the TPM is encrypted by a session salted with that key, so that who only listens there learns
// nothing. Sources: TPM 2.0 Library, part 1 section 27 (sealed objects) and 19.6 (sessions); TCG TPM v2.0 Provisioning Guidance.
package tpm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// DefaultDevice is the TPM behind the kernel's resource manager, which others use at the same time.
const DefaultDevice = "/dev/tpmrm0"

const (
	format     = "metalward tpm 1"
	maxFile    = 8 << 10
	maxSecret  = 128 // bytes; TPM2B_SENSITIVE_DATA
	maxPCR     = 23
	nonceBytes = 16
)

// Sealed is what a TPM sealed. It is no secret.
type Sealed struct {
	Format  string `json:"format"`
	PCRs    []uint `json:"pcrs"`    // SHA-256 bank; none for no condition
	Public  []byte `json:"public"`  // TPM2B_PUBLIC's contents
	Private []byte `json:"private"` // TPM2B_PRIVATE's contents
}

// Bytes is the file.
func (s Sealed) Bytes() []byte {
	b, _ := json.MarshalIndent(s, "", "  ") // plain fields only
	return append(b, '\n')
}

// Parse reads a file that Bytes made. Kinds: Invalid.
func Parse(data []byte) (s Sealed, err error) {
	bad := fault.New(fault.Invalid, "This is no file that a TPM sealed, or it is damaged: restore the root key from its recovery file.")
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if len(data) > maxFile || d.Decode(&s) != nil || s.Format != format || len(s.Public) == 0 || len(s.Private) == 0 || checkPCRs(s.PCRs) != nil {
		return Sealed{}, bad
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Sealed{}, bad
	}
	return s, nil
}

func checkPCRs(pcrs []uint) error {
	if len(pcrs) > maxPCR+1 || !slices.IsSorted(pcrs) || len(slices.Compact(slices.Clone(pcrs))) != len(pcrs) || slices.ContainsFunc(pcrs, func(n uint) bool { return n > maxPCR }) {
		return fault.Field("pcrs", "Name PCRs from 0 to %d, each once, in ascending order.", maxPCR)
	}
	return nil
}

// open reaches a TPM: a device, or unix:PATH for the socket of one in software.
func open(device string) (transport.TPMCloser, error) {
	if device == "" {
		device = DefaultDevice
	}
	t, err := transport.TPMCloser(nil), error(nil)
	if path, ok := strings.CutPrefix(device, "unix:"); ok {
		t, err = linuxudstpm.Open(path)
	} else {
		t, err = linuxtpm.Open(device)
	}
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fault.New(fault.Forbidden, "The TPM at %s may not be used by this user: run as root, or join the group tss.", device)
		}
		return nil, fmt.Errorf("cannot reach the TPM: %w: %w", fault.New(fault.Unavailable, "There is no TPM 2.0 at %s.", device), err)
	}
	return t, nil
}

// primary makes the storage root key.
func primary(t transport.TPM) (*tpm2.CreatePrimaryResponse, func(), error) {
	p, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t)
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return nil, nil, fault.New(fault.Forbidden, "The TPM's owner hierarchy has a password, which is not supported.")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make the TPM's storage root key: %w: %w", fault.New(fault.Unavailable, "The TPM does not do what is asked of it."), err)
	}
	return p, func() { _, _ = tpm2.FlushContext{FlushHandle: p.ObjectHandle}.Execute(t) }, nil
}

// salted is what encrypts parameters between here and the TPM.
func salted(p *tpm2.CreatePrimaryResponse, d tpm2.AuthOption) ([]tpm2.AuthOption, error) {
	public, err := p.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	return []tpm2.AuthOption{tpm2.Salted(p.ObjectHandle, *public), d}, nil
}

func selection(pcrs []uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)}}}
}

// Seal seals a secret of up to 128 bytes. With PCRs it opens only while those of the SHA-256 bank have the values that they have now.
// Kinds: Invalid, Forbidden, Unavailable.
func Seal(device string, v secret.Value, pcrs []uint) (s Sealed, err error) {
	if err := checkPCRs(pcrs); err != nil {
		return s, err
	}
	if n := len(v.Reveal()); n == 0 || n > maxSecret {
		return s, fault.New(fault.Invalid, "A TPM seals 1 to %d bytes.", maxSecret)
	}
	t, err := open(device)
	if err != nil {
		return s, err
	}
	defer func() { _ = t.Close() }()
	p, flush, err := primary(t)
	if err != nil {
		return s, err
	}
	defer flush()
	public := tpm2.TPMTPublic{Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true, UserWithAuth: len(pcrs) == 0}}
	if len(pcrs) > 0 {
		if public.AuthPolicy.Buffer, err = policyNow(t, pcrs); err != nil {
			return s, err
		}
	}
	opts, err := salted(p, tpm2.AESEncryption(128, tpm2.EncryptIn))
	if err != nil {
		return s, err
	}
	made, err := tpm2.Create{ParentHandle: tpm2.AuthHandle{Handle: p.ObjectHandle, Name: p.Name, Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, nonceBytes, opts...)},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: bytes.Clone(v.Reveal())})}},
		InPublic:    tpm2.New2B(public)}.Execute(t)
	if err != nil {
		return s, fmt.Errorf("cannot seal: %w: %w", fault.New(fault.Unavailable, "The TPM does not seal."), err)
	}
	return Sealed{Format: format, PCRs: pcrs, Public: made.OutPublic.Bytes(), Private: made.OutPrivate.Buffer}, nil
}

// policyNow is the policy that the PCRs' values of now satisfy.
func policyNow(t transport.TPM, pcrs []uint) ([]byte, error) {
	s, done, err := tpm2.PolicySession(t, tpm2.TPMAlgSHA256, nonceBytes, tpm2.Trial())
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }()
	if _, err := (tpm2.PolicyPCR{PolicySession: s.Handle(), Pcrs: selection(pcrs)}).Execute(t); err != nil {
		return nil, fmt.Errorf("cannot read PCRs: %w: %w", fault.New(fault.Unavailable, "The TPM does not have these PCRs in its SHA-256 bank."), err)
	}
	got, err := tpm2.PolicyGetDigest{PolicySession: s.Handle()}.Execute(t)
	if err != nil {
		return nil, err
	}
	return got.PolicyDigest.Buffer, nil
}

// Unseal opens what Seal made. Kinds: Conflict when another TPM made it, this one was cleared since, or the PCRs have other values;
// Forbidden, Unavailable.
func Unseal(device string, s Sealed) (v secret.Value, err error) {
	t, err := open(device)
	if err != nil {
		return v, err
	}
	defer func() { _ = t.Close() }()
	p, flush, err := primary(t)
	if err != nil {
		return v, err
	}
	defer flush()
	loaded, err := tpm2.Load{ParentHandle: tpm2.AuthHandle{Handle: p.ObjectHandle, Name: p.Name, Auth: tpm2.PasswordAuth(nil)},
		InPrivate: tpm2.TPM2BPrivate{Buffer: s.Private}, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](s.Public)}.Execute(t)
	if err != nil {
		return v, fmt.Errorf("cannot load what the TPM sealed: %w: %w",
			fault.New(fault.Conflict, "Another TPM sealed this, or this one was cleared since, or the file is damaged: restore the root key from its recovery file."), err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(t) }()
	opts, err := salted(p, tpm2.AESEncryption(128, tpm2.EncryptOut))
	if err != nil {
		return v, err
	}
	auth := tpm2.HMAC(tpm2.TPMAlgSHA256, nonceBytes, opts...)
	if len(s.PCRs) > 0 {
		auth = tpm2.Policy(tpm2.TPMAlgSHA256, nonceBytes, func(t transport.TPM, handle tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
			_, err := tpm2.PolicyPCR{PolicySession: handle, Pcrs: selection(s.PCRs)}.Execute(t)
			return err
		}, opts...)
	}
	out, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: auth}}.Execute(t)
	switch {
	case errors.Is(err, tpm2.TPMRCPolicyFail) || errors.Is(err, tpm2.TPMRCPCRChanged):
		return v, fmt.Errorf("cannot unseal: %w: %w", fault.New(fault.Conflict, "What the platform measures is not what it was when this was sealed (PCRs %v): boot as then, or restore the root key from its recovery file and seal it again.", s.PCRs), err)
	case err != nil:
		return v, fmt.Errorf("cannot unseal: %w: %w", fault.New(fault.Conflict, "The TPM does not open this: restore the root key from its recovery file."), err)
	}
	return secret.NewValue(out.OutData.Buffer), nil
}
