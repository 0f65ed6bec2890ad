// Command opamp-go-descriptors writes the message descriptors compiled into
// the opamp-go module to standard output, as a serialized FileDescriptorSet
// in which every file comes after the files it imports.
package main

import (
	"fmt"
	"os"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	set := &descriptorpb.FileDescriptorSet{}
	collect(set, map[string]bool{}, (&protobufs.ServerToAgent{}).ProtoReflect().Descriptor().ParentFile())
	out, err := proto.Marshal(set)
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "writing the descriptors:", err)
		os.Exit(1)
	}
}

// collect appends file to set, imports first, each file once.
func collect(set *descriptorpb.FileDescriptorSet, seen map[string]bool, file protoreflect.FileDescriptor) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	imports := file.Imports()
	for i := range imports.Len() {
		collect(set, seen, imports.Get(i).FileDescriptor)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}
