// clients BROKER ENTRA_TOKEN: one call with the client of oapi-codegen. Prints as ../js/call.ts does.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() {
	token, err := acsToken(context.Background(), os.Args[1], os.Args[2])
	var no *refused
	if errors.As(err, &no) {
		inner, after := "-", "-"
		if no.detail.Innererror != nil {
			inner = no.detail.Innererror.Code
		}
		if no.retryAfter != "" {
			after = no.retryAfter
		}
		fmt.Println(no.status, no.detail.Code, inner, after)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(200, strings.Count(token.Token, ".")+1, token.ExpiresOn.Unix())
}
