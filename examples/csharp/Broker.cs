using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Azure.Core;

/// <summary>The broker's refusal. Depend on the code; the message is for people and may change.</summary>
sealed class BrokerException(string code, string message, string? requestId)
    : Exception($"{message} ({code}, request {requestId})")
{
    public string Code { get; } = code;
}

/// <summary>The broker's <c>POST /token</c>: an Entra token goes in, an ACS token comes out.</summary>
sealed class Broker(string address, TokenCredential entra, string scope)
{
    static readonly HttpClient http = new();

    public async Task<string> GetTokenAsync(CancellationToken cancellation)
    {
        string? claims = null;
        for (var attempt = 1; ;)
        {
            var token = await entra.GetTokenAsync(new TokenRequestContext([scope], claims: claims), cancellation);
            using var request = new HttpRequestMessage(HttpMethod.Post, $"{address}/token");
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token.Token);
            using var response = await http.SendAsync(request, cancellation);
            if (response.IsSuccessStatusCode)
            {
                using var answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync(cancellation));
                return answer.RootElement.GetProperty("accessToken").GetProperty("token").GetString()!;
            }
            var challenge = Regex.Match(response.Headers.WwwAuthenticate.ToString(), "claims=\"([^\"]+)\"");
            var wait = response.Headers.RetryAfter?.Delta ?? TimeSpan.Zero;
            if (response.StatusCode == HttpStatusCode.Unauthorized && challenge.Success && claims is null)
            {
                // Entra asks for more than the last sign-in, for example a second factor.
                claims = Encoding.UTF8.GetString(Convert.FromBase64String(challenge.Groups[1].Value));
            }
            else if (response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable
                && wait <= TimeSpan.FromMinutes(1) && attempt < 4)
            {
                attempt++;
                await Task.Delay(wait, cancellation);
            }
            else
            {
                throw await RefusalAsync(response, cancellation);
            }
        }
    }

    static async Task<BrokerException> RefusalAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        var requestId = response.Headers.TryGetValues("x-ms-request-id", out var values) ? values.First() : null;
        try
        {
            using var answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync(cancellation));
            var error = answer.RootElement.GetProperty("error");
            return new BrokerException(error.GetProperty("code").GetString()!, error.GetProperty("message").GetString()!, requestId);
        }
        catch (Exception other) when (other is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            // A proxy on the way answers otherwise.
            return new BrokerException("Unknown", $"The broker answered {(int)response.StatusCode}.", requestId);
        }
    }
}
