using Azure;
using Azure.Communication;
using Azure.Identity;

static string Variable(string name, string otherwise) => Environment.GetEnvironmentVariable(name) ?? otherwise;

// The defaults are those of the emulator: `acs-token-broker dev --tls`.
var broker = Variable("BROKER", "https://localhost:8080");
var authority = new Uri(Variable("AUTHORITY", "https://localhost:8090/organizations"));
var clientId = Variable("CLIENT_ID", "c0a5a990-0000-4000-8000-000000000003");
var scope = Variable("SCOPE", "https://communication.azure.com/clients/VoIP");

var entra = new DeviceCodeCredential(new DeviceCodeCredentialOptions
{
    ClientId = clientId,
    TenantId = authority.AbsolutePath.Trim('/'),
    AuthorityHost = new Uri(authority.GetLeftPart(UriPartial.Authority)),
    // Microsoft's list of hosts does not have the emulator's.
    DisableInstanceDiscovery = authority.IsLoopback,
    DeviceCodeCallback = (code, _) =>
    {
        Console.WriteLine(code.Message);
        return Task.CompletedTask;
    },
});

// With a token for ACS (passthrough mode) the SDK calls the broker as it would call ACS, and repeats 429 and 503 by itself.
// In other modes the token is for the broker's own API, which only the application can send.
using var credential = scope.StartsWith("https://communication.azure.com/clients/")
    ? new CommunicationTokenCredential(new EntraCommunicationTokenCredentialOptions(broker, entra) { Scopes = [scope] })
    : new CommunicationTokenCredential(new CommunicationTokenRefreshOptions(
        refreshProactively: true,
        tokenRefresher: cancellation => new Broker(broker, entra, scope).GetTokenAsync(cancellation).GetAwaiter().GetResult())
    {
        AsyncTokenRefresher = async cancellation => await new Broker(broker, entra, scope).GetTokenAsync(cancellation),
    });
try
{
    var token = await credential.GetTokenAsync();
    Console.WriteLine($"ACS token until {token.ExpiresOn:O}");
}
catch (Exception refused) when (refused is RequestFailedException or BrokerException)
{
    // The first line is the broker's sentence; RequestFailedException adds the status, the code and the headers.
    Console.Error.WriteLine(refused.Message);
    Environment.ExitCode = 1;
}
